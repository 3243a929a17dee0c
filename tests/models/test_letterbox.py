"""Whole frames at a network's size."""

from __future__ import annotations

import pytest
import torch

from posewire_models.letterbox import letterbox


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
    fitted = letterbox(pixels, (64, 80), fill=114.0)
    inside = fitted.pixels[:, : filled[0], : filled[1]]
    assert inside.unique().tolist() == [50.0]
    assert (fitted.pixels == 114).sum() == 3 * (64 * 80 - filled[0] * filled[1])
    assert fitted.scale == pytest.approx((filled[1] / frame[1], filled[0] / frame[0]))


def test_reduction_does_not_alias() -> None:
    """A checkerboard of single pixels, reduced by five, becomes grey, not black and white."""
    y, x = torch.meshgrid(torch.arange(200), torch.arange(200), indexing="ij")
    board = (((x + y) % 2) * 255).to(torch.uint8).unsqueeze(2).expand(-1, -1, 3).contiguous()
    pixels = letterbox(board, (40, 40), fill=0).pixels
    assert pixels.min() > 110
    assert pixels.max() < 145
