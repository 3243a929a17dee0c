"""Object keypoint similarity, the OKS of the COCO keypoint task, between all pairs of two sets of poses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from posewire_server.tracking.instances import Floats

__all__ = ["Poses", "oks"]

# COCO's people fill 0.53 of their boxes on average; OKS wants the area of the person.
_AREA_OF_BOX = 0.53
# Fewer joints than this say too little: then all are compared, since a doubtful position is still the best guess.
_FEWEST_COMMON_JOINTS = 3


class Poses(NamedTuple):
    """What OKS has to know of `n` poses."""

    positions: Floats
    """`(n, k, 2)` x, y in pixels."""
    counts: npt.NDArray[np.bool_]
    """`(n, k)`: which joints count."""
    box_areas: Floats
    """`(n,)` in square pixels."""


def oks(a: Poses, b: Poses, sigmas: Floats) -> Floats:
    """OKS `(n, m)` in 0..1 of poses a with poses b: the mean over common joints of exp(-d^2 / (2 s^2 (2 sigma)^2)).

    The paper does not say which box gives the scale s in tracking, where neither pose is the true one: it is the mean
    of the two box areas here, which makes OKS symmetric. A joint is common if it counts in both poses.

    Args:
        a: `n` poses.
        b: `m` poses.
        sigmas: `(k,)` per-joint constants of the joint set.
    """
    # Joints come first, (k, n, m), so that the sums over them run along whole rows: five times as fast.
    xy_a, xy_b = a.positions.transpose(2, 1, 0)[..., None], b.positions.transpose(2, 1, 0)[:, :, None]  # (2, k, n | m)
    squared_distance = np.square(xy_a[0] - xy_b[0]) + np.square(xy_a[1] - xy_b[1])
    squared_scale = np.maximum(_AREA_OF_BOX * (a.box_areas[:, None] + b.box_areas) / 2, 1.0)  # (n, m)
    likeness = np.exp(-squared_distance / (2 * np.square(2 * sigmas)[:, None, None] * squared_scale))

    common = (a.counts.T[:, :, None] & b.counts.T[:, None]).astype(np.float32)
    commons = common.sum(axis=0)  # (n, m)
    common[:, commons < _FEWEST_COMMON_JOINTS] = 1.0
    return np.asarray((likeness * common).sum(axis=0) / common.sum(axis=0), dtype=np.float32)
