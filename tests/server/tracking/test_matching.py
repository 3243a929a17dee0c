from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posewire_server.tracking.matching import match_greedily


def test_the_highest_pair_wins_first() -> None:
    # Pose 0 likes track 0 best, but pose 1 likes it more.
    matching = match_greedily(np.array([[0.8, 0.7], [0.9, 0.1]], dtype=np.float32), threshold=0.2)
    assert matching.pairs.tolist() == [[1, 0], [0, 1]]


def test_one_track_never_goes_to_two_poses() -> None:
    # An argmax per row would do just that.
    matching = match_greedily(np.array([[0.9], [0.8]], dtype=np.float32), threshold=0.2)
    assert matching.pairs.tolist() == [[0, 0]]
    assert matching.unmatched_poses.tolist() == [1]


def test_the_threshold_itself_is_enough_and_less_is_not() -> None:
    similarity = np.array([[0.25, 0.0], [0.0, 0.24]], dtype=np.float32)
    matching = match_greedily(similarity, threshold=0.25)
    assert matching.pairs.tolist() == [[0, 0]]
    assert (matching.unmatched_poses.tolist(), matching.unmatched_tracks.tolist()) == ([1], [1])


def test_nobody_there() -> None:
    assert match_greedily(np.zeros((0, 3), np.float32), 0.2).unmatched_tracks.tolist() == [0, 1, 2]
    assert match_greedily(np.zeros((2, 0), np.float32), 0.2).unmatched_poses.tolist() == [0, 1]


similarities = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=6),
    elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),  # ties are frequent
)


@given(similarities)
def test_it_is_one_to_one_complete_and_stable(similarity: np.ndarray) -> None:
    matching = match_greedily(similarity, threshold=0.25)
    poses, tracks = matching.pairs.T
    assert sorted([*poses, *matching.unmatched_poses]) == list(range(similarity.shape[0]))
    assert sorted([*tracks, *matching.unmatched_tracks]) == list(range(similarity.shape[1]))

    # No open pair beats a pair that was chosen: each pair not chosen has a member in one at least as similar.
    best_of_pose = np.full(similarity.shape[0], -1.0)
    best_of_track = np.full(similarity.shape[1], -1.0)
    best_of_pose[poses] = best_of_track[tracks] = similarity[poses, tracks]
    settled = np.maximum(best_of_pose[:, None], best_of_track[None])
    assert (settled >= similarity)[similarity >= 0.25].all()
