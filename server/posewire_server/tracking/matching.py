"""Greedy one-to-one matching (step f)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posewire_server.tracking.instances import Floats, Ints

__all__ = ["Matching", "match_greedily"]


class Matching(NamedTuple):
    """The result: each pose and each track occurs exactly once."""

    pairs: Ints
    """`(p, 2)`: row of the pose, column of the track; by decreasing similarity."""
    unmatched_poses: Ints
    """`(u,)` rows."""
    unmatched_tracks: Ints
    """`(v,)` columns."""


def match_greedily(similarity: Floats, threshold: float) -> Matching:
    """Match poses to tracks: take the pair with the highest similarity, remove both, repeat.

    The maximum is over *all* remaining pairs: an argmax per pose could give one track to two poses. Ties go to the
    lower row, then to the lower column.

    Args:
        similarity: `(n, m)`, poses by tracks.
        threshold: lowest similarity of a match.
    """
    poses, tracks = (similarity >= threshold).nonzero()
    falling = (-similarity[poses, tracks]).argsort(kind="stable")
    open_poses, open_tracks = (np.ones(count, dtype=np.bool_) for count in similarity.shape)
    pairs: list[tuple[int, int]] = []
    for pose, track in zip(poses[falling].tolist(), tracks[falling].tolist(), strict=True):
        if open_poses[pose] and open_tracks[track]:
            open_poses[pose] = open_tracks[track] = False
            pairs.append((pose, track))
    return Matching(
        np.array(pairs, dtype=np.int64).reshape(-1, 2),
        open_poses.nonzero()[0],
        open_tracks.nonzero()[0],
    )
