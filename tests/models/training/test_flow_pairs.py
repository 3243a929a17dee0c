from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional

from posewire_models.training.flow_pairs import FlowPairConfig, FlowPairs
from posewire_models.training.flow_scenes import render_pairs

SIZE = (64, 96)


def smooth_textures(count: int = 6, side: int = 128) -> torch.Tensor:
    noise = torch.rand(count, 3, side // 16, side // 16, generator=torch.Generator().manual_seed(0))
    smooth = functional.interpolate(noise, size=(side, side), mode="bicubic", align_corners=False)
    return (255 * smooth.clamp(0, 1)).byte().permute(0, 2, 3, 1).contiguous()


def pulled_back(second: torch.Tensor, flow: torch.Tensor) -> torch.Tensor:
    """The second images as seen through the flow from the first: equal to the first where nothing hides a point."""
    height, width = SIZE
    ys, xs = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    places = torch.stack([xs, ys], dim=2) + flow.permute(0, 2, 3, 1)
    grid = places * 2 / torch.tensor([width - 1, height - 1]) - 1
    return functional.grid_sample(second, grid, padding_mode="zeros", align_corners=True)


@pytest.mark.parametrize(
    ("shapes", "most_hidden"),
    [
        (0, 0.25),  # a moving background: only what leaves the picture is lost
        (4, 0.5),  # and what shapes hide
    ],
)
def test_the_flow_leads_from_the_first_image_to_the_second(shapes: int, most_hidden: float) -> None:
    pairs = FlowPairs(FlowPairConfig(shapes=shapes, shift_px=4, background_px=3), smooth_textures(), SIZE)
    first, second, flow = pairs(8, torch.Generator().manual_seed(2))
    wrong = ((pulled_back(second, flow) - first).abs().mean(dim=1) > 12).float().mean(dim=(1, 2))
    assert float(wrong.max()) < most_hidden
    assert float(wrong.median()) < most_hidden / 2
    assert float((first - second).abs().mean()) > 3  # something does move


def test_the_same_seed_gives_the_same_pairs() -> None:
    pairs = FlowPairs(FlowPairConfig(), smooth_textures(), SIZE)
    first, again, other = (pairs(2, torch.Generator().manual_seed(seed))[2] for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_scenes_tell_how_their_joints_move() -> None:
    scenes = render_pairs((96, 128), scenes=2, pairs_a_scene=2, first_seed=5, workers=1)
    assert scenes.first.shape == (4, 96, 128, 3)
    assert scenes.flow.shape == (4, 2, 96, 128)
    for row in range(len(scenes)):
        known = scenes.joints[row].isfinite().all(dim=1)
        at = scenes.joints[row][known].round().long()
        inside = (at[:, 0] >= 0) & (at[:, 0] < 128) & (at[:, 1] >= 0) & (at[:, 1] < 96)
        at, moved = at[inside], scenes.joint_flow[row][known][inside]
        dense = scenes.flow[row].float()[:, at[:, 1], at[:, 0]].T
        # A visible joint moves with the surface that is seen there.
        assert np.median((dense - moved).norm(dim=1).numpy()) < 0.5


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match="must rise"):
        FlowPairConfig(smallest=0.5, largest=0.2)
