"""Heatmap decoding: against the published code restated as a loop, and back from encoded points."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from posewire.joints import COCO17
from posewire_models.crops import apply_affine, crop_to_frame, invert_affine
from posewire_models.heatmaps import DECODINGS, decode_heatmaps, flip_average, gaussian_heatmaps, joints_in_frame


def test_equals_the_published_loop() -> None:
    heatmaps = torch.randn(3, 40, 8, 6, generator=torch.Generator().manual_seed(0))
    decoded = decode_heatmaps(heatmaps)
    for person in range(3):
        for joint in range(40):
            x, y, score = _published_decoding(heatmaps[person, joint])
            assert decoded[person, joint].tolist() == pytest.approx([x, y, min(max(score, 0.0), 1.0)])


@given(st.floats(2, 44), st.floats(2, 60), st.sampled_from([1.5, 2.0, 3.0]))
def test_encoded_point_comes_back_within_a_quarter_cell(x: float, y: float, sigma: float) -> None:
    heatmap = gaussian_heatmaps(torch.tensor([[[x, y]]]), (64, 48), sigma)
    decoded = decode_heatmaps(heatmap)[0, 0]
    assert abs(decoded[0].item() - x) <= 0.25 + 1e-3
    assert abs(decoded[1].item() - y) <= 0.25 + 1e-3
    assert decoded[2].item() == pytest.approx(1.0, abs=0.15)


@given(st.floats(3, 44), st.floats(3, 60), st.sampled_from([1.5, 2.0, 3.0]))
def test_a_gaussian_tells_its_place_between_the_cells(x: float, y: float, sigma: float) -> None:
    heatmap = gaussian_heatmaps(torch.tensor([[[x, y]]]), (64, 48), sigma)
    decoded = decode_heatmaps(heatmap, "gaussian")[0, 0]
    assert decoded[:2].tolist() == pytest.approx([x, y], abs=0.06)  # four times as near as by the quarter
    assert decoded[2] == heatmap.max()


def test_noise_of_single_cells_moves_a_smoothed_peak_less() -> None:
    generator = torch.Generator().manual_seed(0)
    points = torch.rand(50, 19, 2, generator=generator) * torch.tensor([19.0, 27.0]) + 2
    noisy = gaussian_heatmaps(points, (32, 24), 1.5) + 0.05 * torch.randn(50, 19, 32, 24, generator=generator)
    off = {way: (decode_heatmaps(noisy, way)[..., :2] - points).norm(dim=2).mean() for way in ("quarter", "gaussian")}
    assert off["gaussian"] < 0.5 * off["quarter"]


@pytest.mark.parametrize("kind", ["noise", "flat", "negative", "corner"])
def test_whatever_the_heatmap_the_joint_is_finite_and_on_it(kind: str) -> None:
    heatmaps = {
        "noise": torch.randn(3, 5, 8, 6, generator=torch.Generator().manual_seed(1)),
        "flat": torch.zeros(3, 5, 8, 6),
        "negative": torch.full((3, 5, 8, 6), -2.0),
        "corner": gaussian_heatmaps(torch.tensor([[[0.0, 7.0], [5.0, 0.0]]]), (8, 6), 1.5),
    }[kind]
    decoded = decode_heatmaps(heatmaps, "gaussian")
    assert ((decoded[..., 0] >= -0.5) & (decoded[..., 0] <= 5.5)).all()
    assert ((decoded[..., 1] >= -0.5) & (decoded[..., 1] <= 7.5)).all()
    assert ((decoded[..., 2] >= 0) & (decoded[..., 2] <= 1)).all()


@pytest.mark.parametrize("decoding", DECODINGS)
@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_a_heatmap_that_holds_no_number_counts_for_nothing(decoding: str, number: float) -> None:
    heatmaps = gaussian_heatmaps(torch.tensor([[[3.0, 4.0], [2.0, 3.0]]]), (8, 6), 1.5)
    heatmaps[0, 0, 5:7, 2] = number
    decoded = decode_heatmaps(heatmaps, decoding)
    assert decoded.isfinite().all()
    assert decoded[0, :, 2].tolist() == [0.0, 1.0]


@given(st.floats(0.25, 0.75), st.floats(0.25, 0.75), st.floats(20, 400), st.floats(0, 500), st.floats(0, 300))
def test_joint_comes_back_to_the_frame(u: float, v: float, height: float, left: float, top: float) -> None:
    """Crop, encode, decode and back: within a quarter cell, in pixels of the frame."""
    stride, input_size = 4, (256, 192)
    box = torch.tensor([[left, top, left + height / 2, top + height]])
    joint = torch.tensor([[[left + u * height / 2, top + v * height]]])
    to_frame = crop_to_frame(box, input_size)
    in_heatmap = apply_affine(invert_affine(to_frame), joint) / stride
    heatmaps = gaussian_heatmaps(in_heatmap, (64, 48), 2.0)
    found = joints_in_frame(decode_heatmaps(heatmaps), stride, to_frame)[0, 0, :2]
    frame_pixels_per_cell = stride * to_frame[0, 0, 0].item()
    assert (found - joint[0, 0]).abs().max().item() <= 0.26 * frame_pixels_per_cell + 1e-2


@given(st.floats(4, 43), st.floats(4, 60))
def test_flip_test_mirrors_swaps_and_shifts(x: float, y: float) -> None:
    """What an ideal network says of a crop and of its mirrored copy lies within the published approximation."""
    stride, width = 4, 192
    mirror = torch.from_numpy(COCO17.mirror)
    left_wrist, right_wrist = COCO17.index("left_wrist"), COCO17.index("right_wrist")
    straight = torch.zeros(1, 17, 64, 48)
    straight[0, left_wrist] = gaussian_heatmaps(torch.tensor([x, y]), (64, 48), 2.0)
    flipped = torch.zeros(1, 17, 64, 48)
    mirrored_x = (width - 1 - x * stride) / stride
    flipped[0, right_wrist] = gaussian_heatmaps(torch.tensor([mirrored_x, y]), (64, 48), 2.0)
    averaged = flip_average(straight, flipped, mirror)
    assert averaged[0, right_wrist].max() == 0
    decoded = decode_heatmaps(averaged)[0, left_wrist]
    # The two differ by the quarter of a cell that the whole-cell shift leaves, so that their mean is off by half of it.
    assert math.dist(decoded[:2].tolist(), (x, y)) <= 0.25 * math.sqrt(2) + 0.13


@given(st.floats(4, 43), st.floats(4, 60))
def test_the_flip_test_moves_nothing_where_peaks_are_placed_exactly(x: float, y: float) -> None:
    stride, width = 4, 192
    straight, flipped = (
        gaussian_heatmaps(torch.tensor([[[place, y]]]), (64, 48), 1.5) for place in (x, (width - 1) / stride - x)
    )
    averaged = flip_average(straight, flipped, torch.tensor([0]), shift=1 - 1 / stride)
    decoded = decode_heatmaps(averaged, "gaussian")[0, 0]
    assert math.dist(decoded[:2].tolist(), (x, y)) <= 0.03


def test_flip_average_shifts_by_one_cell() -> None:
    flipped = torch.arange(4.0).view(1, 1, 1, 4)
    averaged = flip_average(torch.zeros(1, 1, 1, 4), flipped, torch.tensor([0]))
    assert (averaged * 2).flatten().tolist() == [3.0, 3.0, 2.0, 1.0]


def _published_decoding(heatmap: Tensor) -> tuple[float, float, float]:
    height, width = heatmap.shape
    score, cell = heatmap.flatten().max(0)
    y, x = divmod(int(cell), width)
    shift_x = shift_y = 0.0
    if 1 < x < width - 1 and 1 < y < height - 1:
        shift_x = 0.25 * torch.sign(heatmap[y, x + 1] - heatmap[y, x - 1]).item()
        shift_y = 0.25 * torch.sign(heatmap[y + 1, x] - heatmap[y - 1, x]).item()
    return x + shift_x, y + shift_y, score.item()
