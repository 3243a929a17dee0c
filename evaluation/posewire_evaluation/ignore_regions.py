"""Polygons inside which nothing is scored."""

from __future__ import annotations

import numpy as np

from posewire.array_types import Float64s
from posewire_evaluation.sequences import Bools, PoseFrame

__all__ = ["inside", "without_ignored"]


def inside(polygon: Float64s, points: Float64s) -> Bools:
    """Which points lie strictly inside a polygon, by the even-odd rule; its border is outside.

    Args:
        polygon: `(m, 2)`; with fewer than three corners it has no interior.
        points: `(n, 2)`.

    Returns:
        `(n,)` mask.
    """
    if len(polygon) < 3:
        return np.zeros(len(points), np.bool_)
    x, y = points[:, 0, None], points[:, 1, None]
    ax, ay = polygon[:, 0], polygon[:, 1]
    bx, by = np.roll(ax, -1), np.roll(ay, -1)
    # (n, m), twice the signed area of (a, b, point): 0 on the line through a and b; the sign gives the side.
    side = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
    # Edges are half open, so that a ray through a corner crosses one of its two edges, or both or none where the border
    # turns back.
    crossed = ((ay <= y) != (by <= y)) & ((side > 0) == (by > ay))
    on_border = (
        (side == 0)
        & (np.minimum(ax, bx) <= x)
        & (x <= np.maximum(ax, bx))
        & (np.minimum(ay, by) <= y)
        & (y <= np.maximum(ay, by))
    )
    return np.asarray((crossed.sum(axis=1) % 2 == 1) & ~on_border.any(axis=1), np.bool_)


def without_ignored(frame: PoseFrame, regions: tuple[Float64s, ...]) -> PoseFrame:
    """The frame without the joints inside the regions, and without people who have none left.

    As in poseval, single joints are ignored, in truth and predictions alike.
    """
    if not regions or not len(frame):
        return frame
    points = frame.positions.reshape(-1, 2)
    ignored = np.zeros(len(points), np.bool_)
    for region in regions:
        ignored |= inside(region, points)
    present = frame.present & ~ignored.reshape(frame.present.shape)
    return frame.with_poses(present)
