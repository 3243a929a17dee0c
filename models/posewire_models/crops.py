"""From a person's box to the network's input and back.

The box is extended in height or width to the input's aspect ratio, scaled by 1.25 and sampled bilinearly; outside the
frame is black (Simple Baselines, section 4.1, and `lib/dataset/coco.py` and `lib/utils/transforms.py` of its code).

Affine maps are `(n, 2, 3)` matrices on pixel coordinates whose centres are integers: the input's pixel i covers
[i - 0.5, i + 0.5], so that the input's outer edge falls on the edge of the extended box.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["BOX_SCALE", "apply_affine", "crop_to_frame", "invert_affine", "normalise", "sample_crops"]

BOX_SCALE = 1.25
"""How much larger than the (extended) box the crop is."""


def crop_to_frame(boxes: Tensor, input_size: tuple[int, int], scale: float = BOX_SCALE) -> Tensor:
    """Affine maps `(n, 2, 3)` from pixels of the network's input to pixels of the frame.

    Args:
        boxes: `(n, 4)` xyxy in frame pixels. Boxes without extent are widened to one pixel.
        input_size: (height, width) of the network's input.
        scale: how much the extended box is enlarged.
    """
    height, width = input_size
    center = (boxes[:, :2] + boxes[:, 2:]) / 2
    box_width, box_height = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1.0).unbind(1)
    # Frame pixels per input pixel, the same in x and y: the larger of the two extends the other side of the box.
    pixel = torch.maximum(box_width / width, box_height / height) * scale
    to_frame = boxes.new_zeros((len(boxes), 2, 3))
    to_frame[:, 0, 0] = to_frame[:, 1, 1] = pixel
    to_frame[:, 0, 2] = center[:, 0] - pixel * ((width - 1) / 2)
    to_frame[:, 1, 2] = center[:, 1] - pixel * ((height - 1) / 2)
    return to_frame


def invert_affine(affine: Tensor) -> Tensor:
    """The inverse maps `(n, 2, 3)`."""
    linear = torch.linalg.inv(affine[:, :, :2])
    return torch.cat((linear, -linear @ affine[:, :, 2:]), dim=2)


def apply_affine(affine: Tensor, points: Tensor) -> Tensor:
    """Map points `(n, m, 2)` by `(n, 2, 3)`, one map for each row of points."""
    return points @ affine[:, :, :2].transpose(1, 2) + affine[:, :, 2].unsqueeze(1)


def sample_crops(pixels: Tensor, to_frame: Tensor, input_size: tuple[int, int]) -> Tensor:
    """Cut crops out of one frame, bilinearly, black outside of it.

    Args:
        pixels: uint8 `(h, w, 3)`, on the device that is to do the work.
        to_frame: `(n, 2, 3)` affine maps from input pixels to frame pixels, any rotation and scale.
        input_size: (height, width) of the crops.

    Returns:
        `(n, 3, height, width)` float32 in 0..255; on a CPU rounded to whole numbers.
    """
    return _warp(pixels, to_frame, input_size) if pixels.device.type == "cpu" else _gather(pixels, to_frame, input_size)


def normalise(crops: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels `(n, 3, h, w)` in 0..255 as a network wants them: less each colour's mean, divided by its deviation."""
    shift, spread = (torch.tensor(values, device=crops.device).view(3, 1, 1) for values in (mean, std))
    return (crops - shift).mul_(1 / spread)


def _warp(pixels: Tensor, to_frame: Tensor, input_size: tuple[int, int]) -> Tensor:
    """OpenCV touches only the pixels that it needs: on a CPU three times as fast as `grid_sample`, or more."""
    height, width = input_size
    frame = pixels.numpy()
    crops = np.empty((len(to_frame), height, width, 3), dtype=np.uint8)
    for affine, crop in zip(to_frame.numpy(), crops, strict=True):
        cv2.warpAffine(frame, affine, (width, height), dst=crop, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return torch.from_numpy(crops).permute(0, 3, 1, 2).float()


def _gather(pixels: Tensor, to_frame: Tensor, input_size: tuple[int, int]) -> Tensor:
    """All crops in one call of `grid_sample`, for accelerators."""
    height, width = input_size
    frame_height, frame_width, _ = pixels.shape
    y, x = torch.meshgrid(
        torch.arange(height, device=pixels.device), torch.arange(width, device=pixels.device), indexing="ij"
    )
    places = torch.stack((x, y), dim=2).to(to_frame.dtype).view(1, height * width, 2)
    sources = apply_affine(to_frame, places.expand(len(to_frame), -1, -1)).view(-1, height, width, 2)
    # grid_sample wants the frame's outer edges, half a pixel beyond the outermost centres, at -1 and 1.
    grid = (2 * sources + 1) / sources.new_tensor((frame_width, frame_height)) - 1
    frame = pixels.permute(2, 0, 1).float().unsqueeze(0).expand(len(to_frame), -1, -1, -1)
    return functional.grid_sample(frame, grid, padding_mode="zeros", align_corners=False)
