"""From a person's box to the network's input and back.

The box is extended in height or width to the input's aspect ratio, enlarged and sampled bilinearly; outside the
frame is black (Simple Baselines, section 4.1, and `lib/dataset/coco.py` and `lib/utils/transforms.py` of its code).

For large people, bilinear sampling skips most pixels of the frame, and the crop has aliasing. The published weights
were trained on such crops; a network that was not needs `antialias`, see `sample_crops`.

Affine maps are `(n, 2, 3)` matrices on pixel coordinates whose centres are integers: the input's pixel i covers
[i - 0.5, i + 0.5], so that the input's outer edge falls on the edge of the extended box.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from posewire_models.device_transfer import is_on_cpu, to_device
from posewire_models.resizing import halve, halve_planes

__all__ = [
    "BOX_SCALE",
    "apply_affine",
    "check_box_scale",
    "crop_to_frame",
    "invert_affine",
    "normalise",
    "sample_crops",
]

BOX_SCALE = 1.25
"""Factor from the (extended) box to the crop in the published code."""

_MOST_HALVINGS = 3
"""Of a frame before it is sampled: enough for a person 16 times as tall as the input."""


def check_box_scale(scale: float) -> None:
    """Reject values that no network was ever trained with.

    Raises:
        ValueError: `scale` is outside 0.5..3.
    """
    if not 0.5 <= scale <= 3:
        raise ValueError(f"box_scale {scale} must be in 0.5..3; the published code uses {BOX_SCALE}")


def crop_to_frame(boxes: Tensor, input_size: tuple[int, int], scale: float = BOX_SCALE) -> Tensor:
    """Affine maps `(n, 2, 3)` from pixels of the network's input to pixels of the frame.

    Args:
        boxes: `(n, 4)` xyxy in frame pixels. Empty boxes are widened to one pixel.
        input_size: (height, width) of the network's input.
        scale: factor by which the extended box is enlarged.
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
    """Map points `(n, m, 2)` by `(n, 2, 3)`, one map per row of points."""
    return points @ affine[:, :, :2].transpose(1, 2) + affine[:, :, 2].unsqueeze(1)


def sample_crops(
    frames: Sequence[Tensor],
    owners: Tensor,
    to_frame: Tensor,
    input_size: tuple[int, int],
    *,
    antialias: bool = False,
) -> Tensor:
    """Sample crops bilinearly from frames, which may differ in size; crops are black outside the frame.

    Args:
        frames: uint8 `(h, w, 3)` each, on the device that does the work.
        owners: `(n,)` on the CPU: index of the frame of each crop, increasing.
        to_frame: `(n, 2, 3)` on the CPU: affine maps from input pixels to frame pixels, any rotation and scale.
        input_size: (height, width) of the crops.
        antialias: halve the frame first if a crop pixel covers two or more frame pixels per side.

    Returns:
        `(n, 3, height, width)` integers in 0..255, as float32.
    """
    if not antialias or not (halvings := _halvings(frames, owners, to_frame)).any():
        return _sampled(frames, owners, to_frame, input_size)
    crops = torch.empty((len(to_frame), 3, *input_size), device=frames[0].device)
    for times in sorted(set(halvings.tolist())):
        (rows,) = (halvings == times).nonzero(as_tuple=True)
        shown, owners_of_shown = torch.unique_consecutive(owners[rows], return_inverse=True)
        reduced = [_reduced(frames[frame], 2**times) for frame in shown.tolist()]
        crops[to_device(rows, crops.device)] = _sampled(
            reduced, owners_of_shown, _to_reduced(to_frame[rows], 2**times), input_size
        )
    return crops


def _halvings(frames: Sequence[Tensor], owners: Tensor, to_frame: Tensor) -> Tensor:
    """Number of times that the frame of each crop is halved, `(n,)`; tiny frames keep at least one pixel per side."""
    sides = torch.tensor([min(frame.shape[:2]) for frame in frames])[owners]
    pixel = to_frame[:, :, 0].norm(dim=1)
    return torch.minimum(pixel, sides).log2().floor().clamp(0, _MOST_HALVINGS).int()


def _reduced(pixels: Tensor, factor: int) -> Tensor:
    """A frame of the means of `factor` x `factor` pixels, a power of two; an incomplete row or column is left out."""
    if factor == 1:
        return pixels
    height, width = pixels.shape[0] // factor, pixels.shape[1] // factor
    whole = pixels[: height * factor, : width * factor]
    if is_on_cpu(pixels):
        return torch.from_numpy(halve(whole.numpy(), (height, width)))
    return halve_planes(whole, (height, width)).squeeze(0).byte().permute(1, 2, 0)


def _to_reduced(to_frame: Tensor, factor: int) -> Tensor:
    """The maps `(n, 2, 3)` to pixels of frames reduced by `factor`."""
    reduced = to_frame / factor
    reduced[:, :, 2] += 0.5 / factor - 0.5
    return reduced


def _sampled(frames: Sequence[Tensor], owners: Tensor, to_frame: Tensor, input_size: tuple[int, int]) -> Tensor:
    if not is_on_cpu(frames[0]):
        return _gather(frames, owners, to_frame, input_size)
    counts = torch.bincount(owners, minlength=len(frames)).tolist()
    parts = [
        _warp(pixels, affine, input_size)
        for pixels, affine in zip(frames, torch.split(to_frame, counts), strict=True)
        if len(affine)
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def normalise(crops: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Pixels `(n, 3, h, w)` in 0..255 minus each colour's mean, divided by its standard deviation."""
    shift, factor = _colour_constants(tuple(mean), tuple(std), crops.device)
    return (crops - shift).mul_(factor)


@functools.cache  # never forgotten: CUDA graphs go on reading them
def _colour_constants(mean: tuple[float, ...], std: tuple[float, ...], device: torch.device) -> tuple[Tensor, Tensor]:
    with torch.inference_mode(False):  # training uses them as well
        shift, spread = (torch.tensor(values).view(3, 1, 1) for values in (mean, std))
        # Computed on the CPU, so that they are complete: they are read by other streams than the caller's.
        return shift.to(device), (1 / spread).to(device)


def _warp(pixels: Tensor, to_frame: Tensor, input_size: tuple[int, int]) -> Tensor:
    """By OpenCV, which touches only the pixels needed: on a CPU at least three times as fast as `grid_sample`."""
    height, width = input_size
    frame = pixels.numpy()
    crops = np.empty((len(to_frame), height, width, 3), dtype=np.uint8)
    for affine, crop in zip(to_frame.numpy(), crops, strict=True):
        cv2.warpAffine(frame, affine, (width, height), dst=crop, flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    # Plane by plane in memory, for which it takes a third of the time to normalise them and run OpenVINO.
    return torch.from_numpy(crops).permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format)


def _gather(frames: Sequence[Tensor], owners: Tensor, to_frame: Tensor, input_size: tuple[int, int]) -> Tensor:
    """All crops of all frames in a few operations, for accelerators; only the pixels needed are touched."""
    device = frames[0].device
    rows = torch.cat([frame.reshape(-1, 3) for frame in frames]) if len(frames) > 1 else frames[0].reshape(-1, 3)
    sizes = torch.tensor([(frame.shape[0], frame.shape[1]) for frame in frames], dtype=torch.float64)
    firsts = (sizes.prod(dim=1).cumsum(0) - sizes.prod(dim=1)).unsqueeze(1)
    # One table, so one copy: float64 holds the affine maps as well as memory offsets.
    table = torch.cat((to_frame.reshape(-1, 6).double(), torch.cat((sizes, firsts), dim=1)[owners]), dim=1)
    table = to_device(table, device)[:, :, None, None]  # (n, 9, 1, 1)
    a, b, left, c, d, top = table[:, :6].float().unbind(1)
    frame_height, frame_width, first = table[:, 6:].long().unbind(1)
    x, y = _input_places(input_size, device)
    low_x, high_x, share_x = _neighbours(a * x + b * y + left, frame_width)
    low_y, high_y, share_y = _neighbours(c * x + d * y + top, frame_height)
    crops: Tensor | None = None
    for at_y, weight_y in ((low_y, share_y[0]), (high_y, share_y[1])):
        row = at_y * frame_width + first
        for at_x, weight_x in ((low_x, share_x[0]), (high_x, share_x[1])):
            part = rows[row + at_x] * (weight_x * weight_y).unsqueeze(3)  # (n, h, w, 3)
            crops = part if crops is None else crops.add_(part)
    assert crops is not None
    # As OpenCV does, see `posewire_models.resizing`.
    return crops.round_().permute(0, 3, 1, 2)


def _neighbours(place: Tensor, length: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """The two pixels around each `place` on an axis and their weights, 0 for pixels outside the frame."""
    below = place.floor()
    share = place - below
    low = below.long()
    high = low + 1
    of_low = (1 - share) * ((low >= 0) & (low < length))
    of_high = share * ((high >= 0) & (high < length))
    last = length - 1
    return low.clamp(min=0).minimum(last), high.clamp(min=0).minimum(last), (of_low, of_high)


@functools.lru_cache(maxsize=64)
def _input_places(input_size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Columns `(1, w)` and rows `(h, 1)` of the pixels of a network's input."""
    height, width = input_size
    with torch.inference_mode(False):
        # Made on the CPU for the same reason as the constants above.
        columns, rows = (torch.arange(side, dtype=torch.float32).to(device) for side in (width, height))
        return columns[None, :], rows[:, None]
