"""Frames that show one bright block, which stands for a person."""

from __future__ import annotations

import numpy as np

from posewire_models.frames import Frame

__all__ = ["BLOCKS", "frame_with_block"]

BLOCKS = [
    ((128, 192), (40, 30, 80, 110)),  # of the input's aspect, reduced by two
    ((256, 192), (40, 60, 120, 200)),  # taller than the input
    ((64, 96), (10, 20, 30, 50)),  # at the input's size
]
"""Size of the frame (height, width) and the block in it, for detectors that see 64x96."""


def frame_with_block(size: tuple[int, int], box: tuple[int, int, int, int]) -> Frame:
    """It covers the pixels `box[0]` to `box[2] - 1` and `box[1]` to `box[3] - 1`."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[box[1] : box[3], box[0] : box[2]] = 255
    return Frame(pixels)
