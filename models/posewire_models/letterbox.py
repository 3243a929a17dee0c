"""Fitting whole frames into a network's input."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from posewire_models.resizing import resize_batch

__all__ = ["FILL", "LARGEST_SCALE", "letterbox"]

FILL = 114.0
"""Grey level outside the frame, in 0..255, as in YOLOX."""

LARGEST_SCALE = 1.25
"""For posewire's own detectors, small frames are enlarged by at most this.

Enlarging adds no detail, and people larger than those in training are found less well: on cut-outs of held-out pictures
precision falls from .81 to .76.
"""

# Pixels of frames that are resized together: an accelerator holds float32 copies of them meanwhile (12 bytes each).
_MOST_PIXELS = 2**25


def letterbox(
    frames: Sequence[Tensor], size: tuple[int, int], largest_scale: float = math.inf
) -> tuple[Tensor, list[tuple[float, float]]]:
    """Fit uint8 frames `(h, w, 3)` into the top left of `size`, keeping their aspect ratios; the rest is `FILL`.

    Frames of the same size are resized together. Small ones are enlarged by at most `largest_scale`.

    Returns:
        Their pixels `(b, 3, *size)`, float32 in 0..255, and for each the input pixels per frame pixel in x and y.
    """
    device = frames[0].device
    canvases = torch.empty((len(frames), 3, *size), device=device)
    fitted = [_fitted(pixels.shape[0], pixels.shape[1], size, largest_scale) for pixels in frames]
    groups: dict[tuple[int, int], list[int]] = defaultdict(list)
    for row, pixels in enumerate(frames):
        groups[pixels.shape[0], pixels.shape[1]].append(row)
    for (height, width), rows in groups.items():
        # On a CPU one by one: stacking them would cost more than it saves.
        most = 1 if device.type == "cpu" else max(1, _MOST_PIXELS // (height * width))
        inner = fitted[rows[0]]
        for start in range(0, len(rows), most):
            chosen = rows[start : start + most]
            batch = frames[chosen[0]].unsqueeze(0) if len(chosen) == 1 else torch.stack([frames[row] for row in chosen])
            for row, resized in zip(chosen, resize_batch(batch, inner), strict=True):
                canvases[row, :, : inner[0], : inner[1]] = resized
                canvases[row, :, : inner[0], inner[1] :] = FILL
                canvases[row, :, inner[0] :] = FILL
    scales = [
        (inner_width / pixels.shape[1], inner_height / pixels.shape[0])
        for pixels, (inner_height, inner_width) in zip(frames, fitted, strict=True)
    ]
    return canvases, scales


def _fitted(height: int, width: int, size: tuple[int, int], largest_scale: float) -> tuple[int, int]:
    ratio = min(size[0] / height, size[1] / width, largest_scale)
    return max(1, round(height * ratio)), max(1, round(width * ratio))
