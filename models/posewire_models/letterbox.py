"""Whole frames at a network's input size."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["Letterbox", "letterbox", "resize"]


class Letterbox(NamedTuple):
    """A frame at the size of a network's input."""

    pixels: Tensor
    """`(3, height, width)` float32 in 0..255."""
    scale: tuple[float, float]
    """Input pixels per frame pixel in x and y."""


def resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """A uint8 frame `(h, w, 3)` resized to `(3, *size)`, float32 in 0..255, without aliasing."""
    planes = pixels.permute(2, 0, 1).unsqueeze(0)  # a view: channels last in memory
    if pixels.device.type != "cpu":
        planes = planes.float()  # only the CPU has the fast kernel for bytes
    return functional.interpolate(planes, size, mode="bilinear", antialias=True).squeeze(0).float()


def letterbox(pixels: Tensor, size: tuple[int, int], fill: float) -> Letterbox:
    """Fit a uint8 frame `(h, w, 3)` into the top left of `size`, keeping its aspect ratio; the rest is `fill`."""
    height, width, _ = pixels.shape
    ratio = min(size[0] / height, size[1] / width)
    fitted = max(1, round(height * ratio)), max(1, round(width * ratio))
    canvas = torch.full((3, *size), fill, device=pixels.device)
    canvas[:, : fitted[0], : fitted[1]] = resize(pixels, fitted)
    return Letterbox(canvas, (fitted[1] / width, fitted[0] / height))
