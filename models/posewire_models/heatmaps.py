"""Heatmaps to joints and back.

Convention of the published code and weights (`lib/dataset/JointsDataset.py`, `lib/core/inference.py`): heatmap cell u
stands for input pixel `stride * u`, so the target of a joint at input pixel x is a Gaussian at `x / stride`. Mirrored
heatmaps, turned back, therefore lie 1 - 1/stride cells too far left; the flip test moves them by a whole cell.
"""

from __future__ import annotations

import torch
from torch import Tensor

from posewire_models.crops import apply_affine

__all__ = ["decode_heatmaps", "flip_average", "gaussian_heatmaps", "joints_in_frame"]


def gaussian_heatmaps(points: Tensor, size: tuple[int, int], sigma: float) -> Tensor:
    """Training targets: for each point `(..., 2)`, x and y in heatmap cells, a Gaussian with peak 1, `(..., h, w)`."""
    height, width = size
    x = torch.arange(width, device=points.device, dtype=points.dtype)
    y = torch.arange(height, device=points.device, dtype=points.dtype)
    along_x = torch.exp(-((x - points[..., 0:1]) ** 2) / (2 * sigma**2))  # (..., w)
    along_y = torch.exp(-((y - points[..., 1:2]) ** 2) / (2 * sigma**2))  # (..., h)
    return along_y.unsqueeze(-1) * along_x.unsqueeze(-2)


def flip_average(heatmaps: Tensor, flipped: Tensor, mirror: Tensor) -> Tensor:
    """The flip test: the mean of the heatmaps of a crop and of its mirrored copy, all `(n, k, h, w)`.

    Args:
        heatmaps: of the crop.
        flipped: of the mirrored crop, as the network gave them.
        mirror: `(k,)` permutation that swaps left and right joints.
    """
    back = flipped[:, mirror].flip(3)
    shifted = torch.cat((back[..., :1], back[..., :-1]), dim=3)
    return (heatmaps + shifted) / 2


def decode_heatmaps(heatmaps: Tensor) -> Tensor:
    """Joints of heatmaps `(n, k, h, w)`: the argmax, moved a quarter cell towards the higher neighbour on each axis.

    As in the published code, a peak whose row or column is 0, 1 or the last one stays where it is.

    Returns:
        `(n, k, 3)`: x and y in heatmap cells, and the peak's value as score, clipped to 0..1.
    """
    batch, joints, height, width = heatmaps.shape
    flat = heatmaps.reshape(batch, joints, -1)
    peak, cell = flat.max(dim=2)  # (n, k)
    x, y = cell % width, cell // width
    inside = (x > 1) & (x < width - 1) & (y > 1) & (y < height - 1)
    # Outside, a cell is compared with itself, which gives no shift.
    step_x, step_y = inside.long(), inside.long() * width

    def slope(step: Tensor) -> Tensor:
        after, before = (flat.gather(2, (cell + sign * step).unsqueeze(2)).squeeze(2) for sign in (1, -1))
        return (after - before).sign()

    return torch.stack((x + 0.25 * slope(step_x), y + 0.25 * slope(step_y), peak.clamp(0.0, 1.0)), dim=2)


def joints_in_frame(joints: Tensor, stride: int, to_frame: Tensor) -> Tensor:
    """Decoded joints `(n, k, 3)` in heatmap cells to joints in frame pixels, by the crops' `(n, 2, 3)` affine maps."""
    return torch.cat((apply_affine(to_frame, joints[..., :2] * stride), joints[..., 2:]), dim=2)
