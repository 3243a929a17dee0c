"""The layout of a rendered frame: a label for every pixel, a motion for every label. Two layouts give the flow."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posewire.array_types import Float32s, Float64s
from posewire.synth.camera import compose
from posewire.synth.figure import PARTS, PROFILE_SAMPLES, PROFILES

__all__ = ["Layout", "dense_flow", "displace", "label_of"]


def label_of(person: int) -> int:
    """The label of a person's first part, followed by the others; 0 is the background and all that moves with it."""
    return 1 + person * len(PARTS)


@dataclass(frozen=True, eq=False)
class Layout:
    """The geometry of one frame.

    Attributes:
        labels: `(h, w)` uint16, see `label_of`.
        base: `(2, 3)` from the unmoved picture to this frame.
        maps: `(people * parts, 2, 3)` from (s, t) of each part to this frame.
        turns: `(people * parts,)` radians about the axis.
    """

    labels: npt.NDArray[np.uint16]
    base: Float64s
    maps: Float64s
    turns: Float64s


def _inverse(maps: Float64s) -> Float64s:
    linear = np.linalg.inv(maps[..., :2])
    return np.concatenate([linear, -linear @ maps[..., 2:]], axis=-1)


def displace(before: Layout, after: Layout, points: Float64s, labels: npt.NDArray[np.uint16]) -> Float64s:
    """Displacements of surface points from one frame to the next.

    Args:
        before: the frame in which the points are seen.
        after: the next frame.
        points: `(m, 2)` pixels in `before`.
        labels: `(m,)` the label of each point.

    Returns:
        `(m, 2)` displacements. A point that turns out of view moves as if the surface were transparent.
    """
    moved = _apply(compose(after.base, _inverse(before.base))[None], points)
    on_part = labels > 0
    if on_part.any():
        part = labels[on_part].astype(np.intp) - 1
        material = _apply(_inverse(before.maps)[part], points[on_part])
        s, t = material[:, 0], np.clip(material[:, 1], 0.0, 1.0)
        place = t * (PROFILE_SAMPLES - 1)
        low = np.minimum(place.astype(np.intp), PROFILE_SAMPLES - 2)
        profile = PROFILES[part % len(PARTS)]
        rows = np.arange(len(part))
        width = profile[rows, low] + (place - low) * (profile[rows, low + 1] - profile[rows, low])
        sine = np.clip(s / np.maximum(width, 1e-6), -1.0, 1.0)
        turned = np.arcsin(sine) + (after.turns - before.turns)[part]
        material[:, 0] += width * (np.sin(turned) - sine)
        moved[on_part] = _apply(after.maps[part], material)
    return moved - points


def _apply(maps: Float64s, points: Float64s) -> Float64s:
    """Apply maps `(m or 1, 2, 3)` to points `(m, 2)`."""
    x, y = points[:, 0], points[:, 1]
    return np.stack(
        [
            maps[:, 0, 0] * x + maps[:, 0, 1] * y + maps[:, 0, 2],
            maps[:, 1, 0] * x + maps[:, 1, 1] * y + maps[:, 1, 2],
        ],
        axis=1,
    )


def dense_flow(before: Layout, after: Layout) -> tuple[Float32s, npt.NDArray[np.bool_]]:
    """Flow `(h, w, 2)` of every pixel of `before`, and whether its point is still visible in `after` `(h, w)`."""
    height, width = before.labels.shape
    motion = compose(after.base, _inverse(before.base))
    x, y = np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64)[:, None]
    flow = np.empty((height, width, 2), np.float32)
    flow[..., 0] = (motion[0, 0] - 1.0) * x + (motion[0, 1] * y + motion[0, 2])
    flow[..., 1] = motion[1, 0] * x + ((motion[1, 1] - 1.0) * y + motion[1, 2])
    rows, columns = np.nonzero(before.labels)
    points = np.stack([columns, rows], axis=1).astype(np.float64)
    flow[rows, columns] = displace(before, after, points, before.labels[rows, columns])
    landed_x = np.rint(x + flow[..., 0]).astype(np.int32)
    landed_y = np.rint(y + flow[..., 1]).astype(np.int32)
    inside = (landed_x >= 0) & (landed_x < width) & (landed_y >= 0) & (landed_y < height)
    there = after.labels[np.clip(landed_y, 0, height - 1), np.clip(landed_x, 0, width - 1)]
    return flow, inside & (there == before.labels)
