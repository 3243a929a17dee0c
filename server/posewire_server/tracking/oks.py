"""Object keypoint similarity, the OKS of the COCO keypoint task, between all pairs of two sets of poses."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from posewire.joints import AREA_OF_BOX
from posewire_server.tracking.instances import Floats

__all__ = ["Poses", "oks"]

# With fewer common joints than this, all joints are compared: an uncertain position is still the best guess.
_FEWEST_COMMON_JOINTS = 3
# How many pairs of joints are compared at once. All pairs of a large crowd with a long queue would take a gigabyte.
_MOST_AT_ONCE = 2**20


class Poses(NamedTuple):
    """What OKS needs of `n` poses."""

    positions: Floats
    """`(n, k, 2)` x, y in pixels."""
    confident: npt.NDArray[np.bool_]
    """`(n, k)`: which joints have a score of at least `joint_score_threshold`."""
    box_areas: Floats
    """`(n,)` in square pixels."""

    def take(self, rows: npt.NDArray[np.intp] | slice) -> Poses:
        """The poses in these rows."""
        return Poses(self.positions[rows], self.confident[rows], self.box_areas[rows])


def oks(a: Poses, b: Poses, sigmas: Floats) -> Floats:
    """OKS `(n, m)` in 0..1 of poses a with poses b: the mean over common joints of exp(-d^2 / (2 s^2 (2 sigma)^2)).

    The paper does not say which box gives the scale s in tracking, where neither pose is the ground truth. Here s^2 is
    the geometric mean of the two box areas (times the share of its box that a person fills): OKS is symmetric, and a
    small person far away is not similar to a large one nearby just because the large scale forgives the distance. A
    joint is common if it is confident in both poses.

    Args:
        a: `n` poses.
        b: `m` poses.
        sigmas: `(k,)` per-joint constants of the joint set.
    """
    n, m = len(a.positions), len(b.positions)
    rows = max(1, _MOST_AT_ONCE // max(1, len(sigmas) * m))
    if n <= rows:
        return _at_once(a, b, sigmas)
    parts = (a.take(slice(start, start + rows)) for start in range(0, n, rows))
    return np.concatenate([_at_once(part, b, sigmas) for part in parts])


def _at_once(a: Poses, b: Poses, sigmas: Floats) -> Floats:
    """OKS of all pairs, computed together."""
    # The joint axis comes first, (k, n, m), so that sums over it add whole rows, and operations are in place, since
    # allocating takes as long as computing. Together this is five times as fast as the plain formula.
    xy_a, xy_b = a.positions.transpose(2, 1, 0)[..., None], b.positions.transpose(2, 1, 0)[:, :, None]  # (2, k, n | m)
    likeness, along_y = xy_a[0] - xy_b[0], xy_a[1] - xy_b[1]
    likeness *= likeness
    along_y *= along_y
    likeness += along_y  # squared distance
    area = np.sqrt(a.box_areas)[:, None] * np.sqrt(b.box_areas)  # (n, m)
    squared_scale = np.maximum(AREA_OF_BOX * area, 1.0)
    likeness /= squared_scale
    likeness *= (-0.5 / np.square(2 * sigmas))[:, None, None]
    np.exp(likeness, out=likeness)

    common = a.confident.T[:, :, None] & b.confident.T[:, None]
    commons = common.sum(axis=0, dtype=np.int32)  # (n, m)
    few = commons < _FEWEST_COMMON_JOINTS
    common[:, few] = True
    commons[few] = len(sigmas)
    likeness *= common
    return np.asarray(likeness.sum(axis=0) / commons, dtype=np.float32)
