"""Resizing whole frames.

On an accelerator, pixels are rounded wherever the CPU's kernels round them: without it, joints were a tenth of a pixel
away from those found on a CPU, and one in a hundred two pixels.
"""

from __future__ import annotations

from typing import cast

import cv2
from torch import Tensor
from torch.nn import functional

from posewire.array_types import Image
from posewire_models.device_transfer import is_on_cpu

__all__ = ["halve", "halve_planes", "resize", "resize_batch"]

# Largest reduction by the kernels along one axis: on CUDA the weights of all pixels that become one must fit into the
# memory of a thread block, and a CPU would take seconds for a frame that is a million pixels high.
_MOST_REDUCED = 48


def resize(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """A uint8 frame `(h, w, 3)` resized to `(3, *size)`, float32 in 0..255, without aliasing."""
    return resize_batch(pixels.unsqueeze(0), size).squeeze(0).float()


def resize_batch(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """uint8 frames `(b, h, w, 3)` resized to `(b, 3, *size)`, in 0..255: on a CPU mostly uint8, else float32."""
    planes = _halved(pixels.permute(0, 3, 1, 2), size)  # mostly a view: channels last in memory
    if is_on_cpu(pixels):
        return functional.interpolate(planes, size, mode="bilinear", antialias=True)
    # Only the CPU has the kernel for bytes. It resizes and rounds one axis after the other.
    for steps in ((planes.shape[2], size[1]), size):
        planes = _rounded(functional.interpolate(planes.float(), steps, mode="bilinear", antialias=True))
    return planes


def halve(pixels: Image, size: tuple[int, int]) -> Image:
    """A frame on the CPU, halved while it is at least twice as large as `size` (height, width) on both axes.

    OpenCV's means of pixels are fast only for halving.
    """
    height, width = size
    while pixels.shape[0] >= 2 * height and pixels.shape[1] >= 2 * width:
        half = (pixels.shape[1] // 2, pixels.shape[0] // 2)
        pixels = cast("Image", cv2.resize(pixels, half, interpolation=cv2.INTER_AREA))
    return pixels


def halve_planes(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """As `halve`, for a uint8 frame `(h, w, 3)` on an accelerator; `(1, 3, h, w)` float32 in 0..255."""
    planes = pixels.permute(2, 0, 1).unsqueeze(0).float()
    while planes.shape[2] >= 2 * size[0] and planes.shape[3] >= 2 * size[1]:
        planes = _rounded(functional.interpolate(planes, (planes.shape[2] // 2, planes.shape[3] // 2), mode="area"))
    return planes


def _rounded(planes: Tensor) -> Tensor:
    """In place, halves upwards."""
    return planes.add_(0.5).floor_()


def _halved(planes: Tensor, size: tuple[int, int]) -> Tensor:
    """Pictures `(b, 3, h, w)`, halved until a kernel can reduce them to `size` if they are absurdly large."""
    while max(planes.shape[2] / size[0], planes.shape[3] / size[1]) > _MOST_REDUCED:
        planes = functional.avg_pool2d(planes.float(), 2, ceil_mode=True)
    return planes
