"""Crops: geometry, its inverse, and the two samplers against each other."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from posewire_models import crops
from posewire_models.crops import apply_affine, crop_to_frame, invert_affine, sample_crops

ONE = torch.zeros(1, dtype=torch.long)  # crop, of the first frame
_boxes = st.tuples(st.floats(-50, 900), st.floats(-50, 700), st.floats(2, 800), st.floats(2, 600)).map(
    lambda xywh: torch.tensor([[xywh[0], xywh[1], xywh[0] + xywh[2], xywh[1] + xywh[3]]], dtype=torch.float32)
)


@given(_boxes)
def test_crop_is_the_extended_box(box: torch.Tensor) -> None:
    height, width = 256, 192
    edges = torch.tensor([[[-0.5, -0.5], [width - 0.5, height - 0.5]]])
    (low, high) = apply_affine(crop_to_frame(box, (height, width)), edges)[0]
    size = high - low
    box_size = box[0, 2:] - box[0, :2]
    torch.testing.assert_close((low + high) / 2, (box[0, :2] + box[0, 2:]) / 2, rtol=1e-4, atol=1e-3)
    assert size[1] / size[0] == pytest.approx(4 / 3, rel=1e-4)
    # One side is the box's own, enlarged; the other is not smaller than that.
    assert (size / box_size).min().item() == pytest.approx(1.25, rel=1e-4)


@given(_boxes, st.tuples(st.floats(-20, 200), st.floats(-20, 260)))
def test_inverse_is_exact(box: torch.Tensor, point: tuple[float, float]) -> None:
    to_frame = crop_to_frame(box, (256, 192))
    points = torch.tensor([[point]], dtype=torch.float32)
    back = apply_affine(invert_affine(to_frame), apply_affine(to_frame, points))
    torch.testing.assert_close(back, points, rtol=1e-4, atol=5e-3)


def test_inverse_of_a_rotation() -> None:
    affine = torch.tensor([[[0.0, -2.0, 5.0], [2.0, 0.0, 7.0]]])
    points = torch.tensor([[[3.0, 4.0]]])
    assert apply_affine(affine, points).tolist() == [[[-3.0, 13.0]]]
    assert apply_affine(invert_affine(affine), apply_affine(affine, points)).tolist() == points.tolist()


def test_pixels_come_from_where_the_map_says() -> None:
    x = np.arange(200, dtype=np.uint8)
    frame = np.stack(np.broadcast_arrays(x[None, :], x[:120, None], np.uint8(7)), axis=2)
    to_frame = crop_to_frame(torch.tensor([[80.0, 40.0, 110.0, 70.0]]), (64, 48))
    (crop,) = sample_crops([torch.from_numpy(frame.copy())], ONE, to_frame, (64, 48))
    place = torch.tensor([[[11.0, 33.0]]])
    expected = apply_affine(to_frame, place)[0, 0]
    assert crop[:2, 33, 11].tolist() == pytest.approx(expected.tolist(), abs=0.51)
    assert crop[2].unique().tolist() == [7.0]


def test_outside_of_the_frame_is_black() -> None:
    frame = torch.full((50, 50, 3), 200, dtype=torch.uint8)
    to_frame = crop_to_frame(torch.tensor([[-40.0, 0.0, 0.0, 50.0]]), (64, 48))
    (crop,) = sample_crops([frame], ONE, to_frame, (64, 48))
    assert crop[:, :, 0].max() == 0
    assert crop[:, 32, -1].tolist() == [200.0] * 3


def test_both_samplers_agree() -> None:
    generator = torch.Generator().manual_seed(0)
    frame = torch.randint(0, 256, (90, 160, 3), dtype=torch.uint8, generator=generator)
    corner = torch.rand(6, 2, generator=generator) * 120 - 20
    boxes = torch.cat((corner, corner + torch.rand(6, 2, generator=generator) * 100 + 5), dim=1)
    to_frame = crop_to_frame(boxes, (64, 48))
    to_frame[0, :, :2] = torch.tensor([[0.6, -0.8], [0.8, 0.6]])  # rotated, as in training
    on_cpu = crops._warp(frame, to_frame, (64, 48))
    elsewhere = crops._gather([frame], torch.zeros(6, dtype=torch.long), to_frame, (64, 48))
    torch.testing.assert_close(on_cpu, elsewhere, rtol=0, atol=1)
    assert (on_cpu != elsewhere).float().mean() < 0.01  # a value in the middle between two integers


def test_crops_of_many_frames_are_those_of_each() -> None:
    generator = torch.Generator().manual_seed(1)
    frames = [
        torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=generator)
        for size in ((90, 160), (40, 30), (90, 160))
    ]
    frames[2] = frames[2].permute(2, 0, 1).contiguous().permute(1, 2, 0)  # planes in memory, as a GPU decodes them
    corner = torch.rand(5, 2, generator=generator) * 60 - 20
    boxes = torch.cat((corner, corner + torch.rand(5, 2, generator=generator) * 60 + 5), dim=1)
    to_frame, owners = crop_to_frame(boxes, (64, 48)), torch.tensor([0, 0, 1, 2, 2])
    alone = torch.cat(
        [
            crops._gather([frames[owner]], torch.zeros(1, dtype=torch.long), to_frame[row : row + 1], (64, 48))
            for row, owner in enumerate(owners.tolist())
        ]
    )
    torch.testing.assert_close(crops._gather(frames, owners, to_frame, (64, 48)), alone, rtol=0, atol=0)
    torch.testing.assert_close(sample_crops(frames, owners, to_frame, (64, 48)), alone, rtol=0, atol=1)


def of_four_sizes() -> torch.Tensor:
    """Boxes of people who are reduced not at all, and by 2, by 4 and by 8 and more, before they are sampled."""
    heights = torch.tensor([40.0, 130.0, 260.0, 700.0])
    corners = torch.tensor([[20.0, 30.0], [30.0, 40.0], [101.0, 51.0], [3.0, 5.0]])
    return torch.cat((corners, corners + torch.stack((heights / 2, heights), dim=1)), dim=1)


def smooth(size: tuple[int, int]) -> torch.Tensor:
    """A frame that is about the same however it is sampled."""
    y, x = torch.meshgrid(torch.arange(float(size[0])), torch.arange(float(size[1])), indexing="ij")
    waves = torch.stack((torch.sin(x / 90), torch.sin(y / 70), torch.sin((x + y) / 110)), dim=2)
    return (127 + 120 * waves).round().byte()


def test_without_aliasing_crops_lie_where_they_lay() -> None:
    frames, owners = [smooth((1081, 1923)), smooth((900, 700))], torch.tensor([0, 0, 1, 1])
    to_frame = crop_to_frame(of_four_sizes(), (64, 48))
    plain, means = (sample_crops(frames, owners, to_frame, (64, 48), antialias=on) for on in (False, True))
    # Half a pixel of the reduced frame off would show as 4 to 10; at the frame's edge part of a square is outside.
    difference = (plain - means).abs()[:, :, 3:-3, 3:-3]
    inside = plain[:, :, 3:-3, 3:-3].amin(dim=1, keepdim=True) > 0
    assert (difference * inside).max() <= 2


def test_without_aliasing_fine_patterns_become_their_mean() -> None:
    stripes = torch.zeros(1080, 1920, 3, dtype=torch.uint8)
    stripes[:, ::2] = 200
    plain, means = (
        sample_crops(
            [stripes],
            torch.zeros(4, dtype=torch.long),
            crop_to_frame(of_four_sizes(), (64, 48)),
            (64, 48),
            antialias=on,
        )
        for on in (False, True)
    )
    assert torch.equal(plain[0], means[0])
    inside = (slice(1, None), slice(None), slice(20, 44), slice(20, 28))
    assert means[inside].sub(100).abs().max() <= 1
    assert plain[inside].sub(100).abs().max() > 50


@pytest.mark.parametrize(("size", "factor"), [((1, 40), 1), ((3, 5), 2), ((7, 900), 4)])
def test_without_aliasing_a_frame_of_few_pixels_is_reduced_no_further_than_it_goes(
    size: tuple[int, int], factor: int
) -> None:
    frame = torch.full((*size, 3), 200, dtype=torch.uint8)
    # 16 frame pixels a crop pixel, the middle one of which lies in the middle of the first square of `factor` pixels.
    middle, step = (factor - 1) / 2, 16.0
    to_frame = torch.tensor([[[step, 0.0, middle - 24 * step], [0.0, step, middle - 32 * step]]])
    seen = sample_crops([frame], ONE, to_frame, (64, 48), antialias=True)
    assert seen.shape == (1, 3, 64, 48)
    assert seen[0, :, 32, 24].tolist() == [200.0] * 3
    assert seen.max() <= 200


def test_reduced_frames_are_the_same_on_every_device(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    frames = [torch.randint(0, 256, (size, 1000, 3), dtype=torch.uint8, generator=generator) for size in (777, 780)]
    to_frame, owners = crop_to_frame(of_four_sizes(), (64, 48)), torch.tensor([0, 0, 1, 1])
    on_cpu = sample_crops(frames, owners, to_frame, (64, 48), antialias=True)
    monkeypatch.setattr(crops, "is_on_cpu", lambda _: False)
    elsewhere = sample_crops(frames, owners, to_frame, (64, 48), antialias=True)
    torch.testing.assert_close(on_cpu, elsewhere, rtol=0, atol=1)
    assert (on_cpu != elsewhere).float().mean() < 0.01


def test_places_far_outside_are_black_and_nothing_else() -> None:
    frame = torch.full((50, 50, 3), 200, dtype=torch.uint8)
    boxes = torch.tensor([[1e9, 1e9, 1e9 + 500, 1e9 + 500], [-1e30, 0.0, 1e30, 50.0]])
    seen = crops._gather([frame], torch.zeros(2, dtype=torch.long), crop_to_frame(boxes, (64, 48)), (64, 48))
    assert seen.unique().tolist() == [0.0]


def test_a_box_without_extent_gives_a_finite_crop() -> None:
    to_frame = crop_to_frame(torch.tensor([[5.0, 5.0, 5.0, 5.0]]), (64, 48))
    assert sample_crops([torch.zeros(10, 10, 3, dtype=torch.uint8)], ONE, to_frame, (64, 48)).isfinite().all()
