"""What a frame and a sequence take, and how they refuse the rest."""

from __future__ import annotations

import numpy as np
import pytest

from posewire.joints import COCO17, POSETRACK15
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.sequences import PoseFrame, PoseSequence
from tests.evaluation.people import JOINTS, frame, pose, sequence, walk


def test_what_is_left_out_is_unknown() -> None:
    made = PoseFrame.of(7, [4, 5], np.stack([pose(10), pose(20, only=["nose"])]))
    assert (made.number, made.labelled, len(made)) == (7, True, 2)
    assert made.present.sum(axis=1).tolist() == [JOINTS, 1]
    assert np.isnan(made.head_sizes).all()
    assert np.isnan(made.boxes).all()
    assert not PoseFrame.of(8, [], np.zeros((0, JOINTS, 3))).labelled


def test_some_of_the_people_are_kept_whole() -> None:
    kept = frame(0, {1: pose(10), 2: pose(20), 3: pose(30)}).keep(np.array([2, 0]))
    assert kept.ids.tolist() == [3, 1]
    assert kept.joints[:, 0, 0].tolist() == [30, 10]


def test_people_without_joints_have_no_pose() -> None:
    made = frame(0, {1: pose(10), 2: pose(20, only=[])})
    assert made.with_poses().ids.tolist() == [1]


NAN = pose(10)
NAN[3, 0] = np.nan


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        (lambda: frame(3, {1: NAN}), "frame 3: left_shoulder of the person with id 1 is NaN"),
        (lambda: PoseFrame.of(3, [5, 5], np.stack([pose(1), pose(2)])), "frame 3: id 5 is given to 2 people"),
        (lambda: PoseFrame.of(3, [5], np.zeros((1, 17, 3))), r"frame 3: poses of shape \(1, 17, 3\)"),
        (lambda: PoseFrame.of(3, [5, 6], pose(1)[None]), "frame 3: .* disagree"),
        (lambda: PoseFrame.of(3, [5], pose(1)[None], present=[[True, False]]), "frame 3: .* disagree"),
        (lambda: PoseFrame.of(3, [5], pose(1)[None], scores=[np.nan]), "frame 3: the score of the person with id 5"),
        (lambda: frame(1, {}), "frame 1: it comes after frame 1"),
    ],
)
def test_faults_name_source_and_frame(bad: object, said: str) -> None:
    assert callable(bad)
    with pytest.raises(EvaluationError, match=rf"gt/a\.json: {said}"):
        sequence(frame(1, {1: pose(5)}), bad(), source="gt/a.json")


@pytest.mark.parametrize(
    ("ids", "joints", "said"),
    [
        ([5, 1.5], np.zeros((2, JOINTS, 3)), r"frame 3: the id 1\.5 is not a whole number"),
        ([np.nan], np.zeros((1, JOINTS, 3)), r"frame 3: the id nan is not a whole number"),
        ([], [], r"frame 3: joints of shape \(0,\); .* of nobody: np\.zeros\(\(0, k, 3\)\)"),
    ],
)
def test_a_frame_is_made_of_what_it_takes(ids: object, joints: object, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        PoseFrame.of(3, ids, joints)


def test_a_joint_that_is_not_given_may_be_anything() -> None:
    given = NAN.copy()
    given[3, 2] = 0
    assert len(sequence(frame(1, {1: given}))) == 1


def test_joints_are_those_of_the_set() -> None:
    with pytest.raises(EvaluationError, match=r"\(n, 17, 3\) expected"):
        PoseSequence("a", COCO17, walk().frames)
    assert PoseSequence("a", POSETRACK15, walk().frames).source == "a"
