"""Whole frames at a network's size."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from posewire_models.letterbox import letterbox
from posewire_models.resizing import _halved, resize


@pytest.mark.parametrize(
    ("frame", "filled"),
    [
        ((100, 200), (40, 80)),  # wide: reduced, room below
        ((200, 100), (64, 32)),  # tall: room at the right
        ((16, 20), (64, 80)),  # small: enlarged
    ],
)
def test_frame_fits_into_the_top_left(frame: tuple[int, int], filled: tuple[int, int]) -> None:
    pixels = torch.full((*frame, 3), 50, dtype=torch.uint8)
    (fitted,), (scale,) = letterbox([pixels], (64, 80))
    inside = fitted[:, : filled[0], : filled[1]]
    assert inside.unique().tolist() == [50.0]
    assert (fitted == 114).sum() == 3 * (64 * 80 - filled[0] * filled[1])
    assert scale == pytest.approx((filled[1] / frame[1], filled[0] / frame[0]))


def test_small_frames_are_enlarged_by_at_most_the_largest_scale() -> None:
    (fitted,), (scale,) = letterbox([torch.zeros((16, 20, 3), dtype=torch.uint8)], (64, 80), largest_scale=1.25)
    assert scale == (1.25, 1.25)
    assert (fitted == 114).sum() == 3 * (64 * 80 - 20 * 25)
    _, (scale,) = letterbox([torch.zeros((128, 160, 3), dtype=torch.uint8)], (64, 80), largest_scale=1.25)
    assert scale == (0.5, 0.5)


def test_each_axis_has_its_own_scale_where_a_side_is_rounded() -> None:
    _, (scale,) = letterbox([torch.zeros(7, 900, 3, dtype=torch.uint8)], (64, 80))
    assert scale == pytest.approx((80 / 900, 1 / 7))


def test_reduction_does_not_alias() -> None:
    """A checkerboard of single pixels, reduced by five, becomes grey, not black and white."""
    y, x = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    board = (((x + y) % 2) * 255).to(torch.uint8).unsqueeze(2).expand(-1, -1, 3).contiguous()
    pixels, _ = letterbox([board], (40, 40))
    assert pixels.min() > 110
    assert pixels.max() < 145


def test_many_frames_are_each_as_alone() -> None:
    generator = torch.Generator().manual_seed(0)
    sizes = [(90, 160), (200, 100), (90, 160)]
    frames = [torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=generator) for size in sizes]
    together, scales = letterbox(frames, (64, 80))
    for pixels, fitted, scale in zip(frames, together, scales, strict=True):
        (alone,), (scale_alone,) = letterbox([pixels], (64, 80))
        assert scale == scale_alone
        assert torch.equal(fitted, alone)


@pytest.mark.parametrize("size", [(64, 80), (45, 80), (180, 320)])  # smaller, much smaller, larger
def test_accelerators_resize_as_the_cpu_does(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU's kernel for bytes rounds, and so do the others. Planes in memory or not makes no difference."""
    frame = torch.randint(0, 256, (90, 160, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    on_cpu = resize(frame, size), letterbox([frame], size)[0]
    monkeypatch.setattr("posewire_models.resizing.is_on_cpu", lambda _: False)
    for layout in (frame, frame.permute(2, 0, 1).contiguous().permute(1, 2, 0)):
        elsewhere = resize(layout, size), letterbox([layout], size)[0]
        torch.testing.assert_close(elsewhere, on_cpu, rtol=0, atol=1)
        assert all((one != other).float().mean() < 0.02 for one, other in zip(elsewhere, on_cpu, strict=True))


def test_absurd_sizes_are_halved_first() -> None:
    ramp = torch.linspace(0, 255, 16_000).expand(1, 3, 21, -1)
    halved = _halved(ramp, (1, 80))
    assert halved.shape == (1, 3, 3, 2000)
    small, direct = (functional.interpolate(each, (1, 80), mode="bilinear", antialias=True) for each in (halved, ramp))
    torch.testing.assert_close(small, direct, rtol=0, atol=0.5)
    assert _halved(ramp, (21, 400)) is ramp
