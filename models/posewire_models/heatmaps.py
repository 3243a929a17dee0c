"""Heatmaps to joints and back.

Convention of the published code and weights (`lib/dataset/JointsDataset.py`, `lib/core/inference.py`): heatmap cell u
stands for input pixel `stride * u`, so the target of a joint at input pixel x is a Gaussian at `x / stride`. Heatmaps
of the mirrored crop, flipped back, are therefore 1 - 1/stride cells too far left. The published flip test shifts them
by a whole cell, and `quarter` does the same; the excess moves every joint by half an input pixel, so `gaussian` shifts
them by exactly 1 - 1/stride.

A peak's position between cells is found in one of two ways (`DECODINGS`): `quarter`, the paper's, or `gaussian`, after
Zhang et al., "Distribution-Aware Coordinate Representation for Human Pose Estimation" (DARK), CVPR 2020, without the
mixed derivative, which gained nothing on held-out pictures. The smaller the heatmaps, the more `gaussian` gains.
"""

from __future__ import annotations

import functools
import math

import torch
from torch import Tensor

from posewire_models.crops import apply_affine

__all__ = ["DECODINGS", "decode_heatmaps", "flip_average", "gaussian_heatmaps", "joints_in_frame"]

DECODINGS = ("quarter", "gaussian")
"""Ways to refine a peak's position within its cell."""

_SMOOTHING_SIGMA = 1.0
"""In cells. Results on held-out pictures are the same from 0.7 to 1.5."""
_SMOOTHING_REACH = 3
"""Radius in cells."""
_KERNEL_SUM = sum(
    math.exp(-(away**2) / (2 * _SMOOTHING_SIGMA**2)) for away in range(-_SMOOTHING_REACH, _SMOOTHING_REACH + 1)
)
_FAINT = 1e-3
"""Smallest value whose logarithm is taken."""
_FLAT = 1e-6
"""A parabola with less curvature than this has no maximum."""


def gaussian_heatmaps(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Training targets: for each point `(..., 2)`, x and y in heatmap cells, a Gaussian with peak 1, `(..., h, w)`."""
    height, width = size
    x = torch.arange(width, device=points.device, dtype=points.dtype)
    y = torch.arange(height, device=points.device, dtype=points.dtype)
    along_x = torch.exp(-((x - points[..., 0:1]) ** 2) / (2 * sigma**2))  # (..., w)
    along_y = torch.exp(-((y - points[..., 1:2]) ** 2) / (2 * sigma**2))  # (..., h)
    return along_y.unsqueeze(-1) * along_x.unsqueeze(-2)


def flip_average(heatmaps: Tensor, flipped: Tensor, mirror: Tensor, shift: float = 1.0) -> Tensor:
    """The flip test: the mean of the heatmaps of a crop and of its mirrored copy, all `(n, k, h, w)`.

    Args:
        heatmaps: of the crop.
        flipped: of the mirrored crop, as returned by the network.
        mirror: `(k,)` permutation that swaps left and right joints.
        shift: cells, 0..1, by which the mirrored heatmaps are moved right after flipping them back.
    """
    back = flipped[:, mirror].flip(3)
    moved = torch.cat((back[..., :1], back[..., :-1]), dim=3)
    return (heatmaps + torch.lerp(back, moved, shift)) / 2


def decode_heatmaps(heatmaps: Tensor, decoding: str = "quarter") -> Tensor:
    """Joints of heatmaps `(n, k, h, w)`: the highest cell, refined by less than a cell towards the peak.

    Args:
        heatmaps: with approximately Gaussian peaks.
        decoding: `quarter` moves by a quarter cell towards the higher neighbour on each axis; as in the published code,
            a peak whose row or column is 0, 1 or the last one stays where it is. `gaussian` smooths the heatmaps and
            fits a Gaussian along each axis.

    Returns:
        `(n, k, 3)`: x and y in heatmap cells, and the heatmap's highest value as score, clipped to 0..1. The score is 0
        where the heatmap has a NaN or an infinite maximum (half precision may overflow), so that the joint is ignored.
    """
    width = heatmaps.shape[3]
    score, cell = heatmaps.flatten(2).max(dim=2)  # (n, k)
    if decoding == "gaussian":
        smooth = _smoothed(heatmaps)
        cell = smooth.flatten(2).max(dim=2).indices  # faster than argmax
        offset = _gaussian_offset(smooth, cell)
    else:
        offset = _quarter_offset(heatmaps, cell)
    joints = torch.stack((cell % width, cell // width), dim=2) + offset
    return torch.cat((joints, score.nan_to_num(posinf=0.0).clamp(0.0, 1.0).unsqueeze(2)), dim=2)


def _quarter_offset(heatmaps: Tensor, cell: Tensor) -> Tensor:
    """Offsets x and y `(n, k, 2)` from these cells `(n, k)`: a quarter towards the higher neighbour."""
    height, width = heatmaps.shape[2:]
    flat = heatmaps.flatten(2)
    x, y = cell % width, cell // width
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)

    def slope(step: int) -> Tensor:
        # At the border, a cell is compared with itself, which gives no offset.
        after, before = (flat.gather(2, (cell + sign * step * inside).unsqueeze(2)).squeeze(2) for sign in (1, -1))
        return (after - before).sign()

    return 0.25 * torch.stack((slope(1), slope(width)), dim=2)


def _gaussian_offset(heatmaps: Tensor, cell: Tensor) -> Tensor:
    """Offsets x and y `(n, k, 2)` from these highest cells `(n, k)` to the maximum of the Gaussian through them.

    The logarithm of a Gaussian is a parabola, and three points determine its maximum: at most half a cell away, or a
    neighbour would be higher. Beyond the border, heatmaps keep their values on the border.
    """
    height, width = heatmaps.shape[2:]
    flat = heatmaps.flatten(2)
    x, y = cell % width, cell // width

    def log_at(x: Tensor, y: Tensor) -> Tensor:
        inside = y.clamp(0, height - 1) * width + x.clamp(0, width - 1)
        return flat.gather(2, inside.unsqueeze(2)).squeeze(2).clamp(min=_FAINT).log()

    here = log_at(x, y)

    def top(step_x: int, step_y: int) -> Tensor:
        before, after = (log_at(x + sign * step_x, y + sign * step_y) for sign in (-1, 1))
        bend = before - 2 * here + after
        return torch.where(bend < -_FLAT, 0.5 * (before - after) / bend, 0.0).clamp(-0.5, 0.5)

    return torch.stack((top(1, 0), top(0, 1)), dim=2)


def _smoothed(heatmaps: Tensor) -> Tensor:
    """The heatmaps without ripples of single cells, whose curvature would disturb the fit.

    They are 0 beyond the border, so a peak on it appears up to two thirds of a cell further in.
    """
    along_y, along_x = (_gaussian_kernels(side, heatmaps.device, heatmaps.dtype) for side in heatmaps.shape[2:])
    return along_y @ (heatmaps @ along_x)


@functools.cache  # never forgotten: CUDA graphs go on reading them
@torch.inference_mode(mode=False)
def _gaussian_kernels(side: int, device: torch.device, dtype: torch.dtype) -> Tensor:
    """Smoothing along one axis as a symmetric matrix `(side, side)`: each row is a Gaussian around its cell."""
    # On the CPU, so that it is complete when another stream than the caller's reads it.
    cells = torch.arange(side, dtype=dtype)
    away = cells - cells.unsqueeze(1)
    kernels = torch.exp(-(away**2) / (2 * _SMOOTHING_SIGMA**2)) * (away.abs() <= _SMOOTHING_REACH) / _KERNEL_SUM
    return kernels.to(device)


def joints_in_frame(joints: Tensor, stride: int, to_frame: Tensor) -> Tensor:
    """Decoded joints `(n, k, 3)` in heatmap cells to frame pixels, by the crops' affine maps `(n, 2, 3)`."""
    return torch.cat((apply_affine(to_frame, joints[..., :2] * stride), joints[..., 2:]), dim=2)
