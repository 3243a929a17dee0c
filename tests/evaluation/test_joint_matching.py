"""Which pose is compared with which person."""

from __future__ import annotations

import numpy as np
import pytest

from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.joint_matching import check_head_sizes, match_frame
from posewire_evaluation.sequences import PoseFrame
from tests.evaluation.people import JOINTS, frame, pose, sequence


def test_distances_are_in_head_sizes() -> None:
    match = match_frame(frame(0, {1: pose(100)}), frame(0, {1: pose(105)}))
    assert match.distances.shape == (1, 1, JOINTS)
    assert match.distances[0, 0].tolist() == [0.25] * JOINTS


@pytest.mark.parametrize(("offset", "right"), [(10.0, True), (10.001, False)])
def test_the_threshold_belongs_to_the_right_side(offset: float, right: bool) -> None:
    match = match_frame(frame(0, {1: pose(100)}), frame(0, {1: pose(100 + offset)}))
    assert match.correct.tolist() == [[right] * JOINTS]


def test_the_better_of_two_poses_is_taken() -> None:
    halfway = pose(100)
    halfway[8:, 0] = 300
    match = match_frame(frame(0, {1: pose(100)}), frame(0, {7: halfway, 8: pose(104)}))
    assert match.correct.tolist() == [
        [False] * JOINTS,
        [True] * JOINTS,
    ]  # right joints of the worse pose count for nothing


def test_of_equal_poses_the_first_is_taken() -> None:
    match = match_frame(frame(0, {1: pose(100)}), frame(0, {7: pose(104), 8: pose(100)}))
    assert match.correct.any(axis=1).tolist() == [True, False]


def test_a_share_is_one_of_the_annotated_joints() -> None:
    # The pose has all of the one joint of person 2, and 14 of 15 of person 1, who is as near.
    one_joint = pose(104, only=["nose"])
    guess = pose(102)
    guess[14, 0] = 500
    match = match_frame(frame(0, {1: pose(100), 2: one_joint}), frame(0, {1: guess}))
    assert match.correct.sum() == 1
    assert match.correct[0, 0]


@pytest.mark.parametrize("people", [{}, {1: pose(100)}])
def test_nobody_on_one_side(people: dict[int, np.ndarray]) -> None:
    there, nobody = frame(0, people), frame(0, {})
    for truth, predicted in ((there, nobody), (nobody, there)):
        match = match_frame(truth, predicted)
        assert match.one_sided
        assert not match.correct.any()


def test_a_head_without_extent_matches_nothing() -> None:
    flat = PoseFrame.of(0, [1], pose(100)[None], head_sizes=[0.0])
    assert not match_frame(flat, frame(0, {1: pose(100)})).correct.any()


def test_joints_that_are_not_given_may_be_anywhere() -> None:
    truth, guess = pose(100), pose(100)
    truth[:2], guess[:2] = (np.inf, 1e200, 0.0), (np.inf, -1e200, 0.0)
    match = match_frame(frame(0, {1: truth}), frame(0, {1: guess}))
    assert match.correct.tolist() == [[False] * 2 + [True] * (JOINTS - 2)]


def test_a_head_must_be_known() -> None:
    headless = sequence(frame(0, {}), PoseFrame.of(4, [9], pose(100)[None]), source="a.json")
    with pytest.raises(EvaluationError, match=r"a\.json: frame 4: the person with id 9 has no head box"):
        check_head_sizes(headless)
