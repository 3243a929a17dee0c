"""HOTA and IDF1 of poses, worked out by hand, and what they do not depend on."""

from __future__ import annotations

import sys
from dataclasses import astuple, replace
from math import sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools.cocoeval import COCOeval

from posewire.joints import COCO17, POSETRACK15
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.identity import check_trackeval, score_identities
from posewire_evaluation.pose_similarity import object_keypoint_similarity
from posewire_evaluation.sequences import PoseFrame, PoseSequence
from tests.evaluation.people import JOINTS, changed, frame, pose, random_pair, renamed, sequence, shuffled, walk


def beside(original: PoseSequence, offset: float) -> PoseSequence:
    """Everybody some pixels to the right."""
    places = np.array([offset, 0, 0])
    moved = (replace(each, joints=each.joints + places) for each in original.frames)
    return PoseSequence(original.name, POSETRACK15, tuple(moved))


ONE = walk(4, people=[1])
GHOST = {9: pose(5000)}


@pytest.mark.parametrize(
    ("predicted", "hota", "det_a", "ass_a", "idf1"),
    [
        pytest.param(ONE, 100, 100, 100, 100, id="perfect"),
        pytest.param(renamed(ONE, {1: 77}), 100, 100, 100, 100, id="another name"),
        # Two halves: each match has 2 right, 2 missing of its person: 2 / 4. IDF1 = 2 * 2 / (4 + 4).
        pytest.param(renamed(ONE, {1: 2}, first=2), 100 * sqrt(0.5), 100, 50, 50, id="new identity"),
        # One of four is missed: A = 3 / 4 of each. IDF1 = 2 * 3 / (4 + 3).
        pytest.param(changed(ONE, {1: {}}), 75, 75, 75, 600 / 7, id="miss"),
        # One pose too many: DetA = 4 / 5. IDF1 = 2 * 4 / (4 + 5).
        pytest.param(
            changed(ONE, {1: {1: ONE.frames[1].joints[0]} | GHOST}), 100 * sqrt(0.8), 80, 100, 800 / 9, id="ghost"
        ),
        # OKS 0.52 and 0.44: of HOTA's 19 thresholds, 10 and 8 are below. IDF1 has one, at 0.5.
        pytest.param(beside(ONE, 3.0), 1000 / 19, 1000 / 19, 1000 / 19, 100, id="just near enough"),
        pytest.param(beside(ONE, 3.5), 800 / 19, 800 / 19, 800 / 19, 0, id="just too far"),
        pytest.param(sequence(*(frame(t, {}) for t in range(4))), 0, 0, 0, 0, id="nobody"),
        pytest.param(sequence(*(frame(t, GHOST) for t in range(4))), 0, 0, 0, 0, id="ghost alone"),
    ],
)
def test_by_hand(predicted: PoseSequence, hota: float, det_a: float, ass_a: float, idf1: float) -> None:
    scores = score_identities([(ONE, predicted)])
    assert (scores.hota, scores.det_a, scores.ass_a) == pytest.approx((hota, det_a, ass_a))
    assert scores.idf1 == pytest.approx(idf1)


def test_a_swap() -> None:
    # Each person is half and half: as with a new identity, but the other's identity is in the way.
    scores = score_identities([(walk(4), renamed(walk(4), {1: 2, 2: 1}, first=2))])
    assert scores.ass_a == pytest.approx(100 / 3)  # 2 right, 2 missing, 2 false
    assert scores.idf1 == pytest.approx(50)


def test_ignored_and_unlabelled_is_not_scored() -> None:
    region = [[0, -100], [300, -100], [300, 900], [0, 900]]
    truth = sequence(*(frame(t, {1: pose(100), 2: pose(600)}, ignore_regions=[region]) for t in range(3)), frame(3, {}))
    predicted = sequence(*(frame(t, {2: pose(600)}) for t in range(3)), frame(3, GHOST))
    assert score_identities([(truth, predicted)]).hota == pytest.approx(100)


@pytest.mark.parametrize("is_boxed", [True, False])
def test_similarity_is_that_of_pycocotools(is_boxed: bool) -> None:
    rng = np.random.default_rng(1)
    true = np.concatenate([rng.uniform(100, 300, (4, 17, 2)), rng.integers(0, 3, (4, 17, 1))], axis=2)
    guessed = np.concatenate([true[:3, :, :2] + rng.normal(0, 15, (3, 17, 2)), np.ones((3, 17, 1))], axis=2)
    boxes = np.array([[90, 95, 290, 310], [80, 80, 320, 290], [0, 100, 400, 300], [100, 100, 200, 350]], float)
    scales = 0.53 * np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    if not is_boxed:  # that of the joints, and 15 % more
        given = [pose[pose[:, 2] > 0, :2] for pose in true]
        scales = 0.53 * np.array([(1.15 * np.ptp(xy, axis=0)).prod() for xy in given])
    coco = COCOeval(iouType="keypoints")
    coco._gts[1, 1] = [
        {"keypoints": pose.ravel().tolist(), "bbox": [0, 0, 1, 1], "area": scale}
        for pose, scale in zip(true, scales, strict=True)
    ]
    coco._dts[1, 1] = [{"keypoints": pose.ravel().tolist(), "score": 1.0} for pose in guessed]
    truth = PoseFrame.of(0, range(4), true, boxes=boxes if is_boxed else None)
    found = object_keypoint_similarity(truth, PoseFrame.of(0, range(3), guessed), COCO17)
    np.testing.assert_allclose(found, coco.computeOks(1, 1).T, rtol=1e-12)
    assert (np.diagonal(found) > 0.1).all()


def test_joints_that_are_not_predicted_are_wrong_and_others_do_not_matter() -> None:
    five = POSETRACK15.names[:5]
    guess = PoseFrame.of(0, [1], pose(100)[None], present=[[name in five for name in POSETRACK15.names]])
    likeness = object_keypoint_similarity(frame(0, {1: pose(100)}), guess, POSETRACK15)
    assert likeness[0, 0] == pytest.approx(5 / JOINTS)
    likeness = object_keypoint_similarity(frame(0, {1: pose(100, only=five)}), frame(0, {1: pose(100)}), POSETRACK15)
    assert likeness[0, 0] == pytest.approx(1)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_where_a_joint_that_is_not_given_lies_does_not_matter(value: float) -> None:
    one = pose(100, only=POSETRACK15.names[1:])
    odd = one.copy()
    odd[0, :2] = value
    found, expected = (sequence(frame(0, {1: each}), frame(1, {1: each})) for each in (odd, one))
    assert score_identities([(found, found)]) == score_identities([(expected, expected)])


def test_a_person_with_one_joint_has_a_scale() -> None:
    truth = frame(0, {1: pose(100, only=["nose"])})
    near, far = (object_keypoint_similarity(truth, frame(0, {1: pose(x)}), POSETRACK15)[0, 0] for x in (100.5, 120))
    assert 0.5 < near < 1
    assert far < 0.05


def test_people_without_any_joint_are_passed_over() -> None:
    truth = sequence(frame(0, {1: pose(100), 2: pose(300, only=[])}))
    assert score_identities([(truth, truth)]).hota == pytest.approx(100)


def test_trackeval_must_be_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "trackeval.metrics", None)
    for needs_it in (check_trackeval, lambda: score_identities([(ONE, ONE)])):
        with pytest.raises(EvaluationError, match="pip install --no-deps trackeval"):
            needs_it()


def test_a_sequence_without_people_adds_nothing() -> None:
    empty = sequence(frame(0, {}))
    assert score_identities([(empty, empty), (ONE, ONE)]) == score_identities([(ONE, ONE)])


def test_nothing_to_score_is_refused() -> None:
    with pytest.raises(EvaluationError, match="nothing to score"):
        score_identities([])


@settings(max_examples=20)
@given(st.integers(0, 10_000))
def test_order_and_names_of_people_do_not_matter(seed: int) -> None:
    truth, predicted = random_pair(seed)
    rng = np.random.default_rng(seed)
    names = dict(enumerate(rng.permutation(200).tolist()))
    expected = astuple(score_identities([(truth, predicted)]))
    for pair in ((shuffled(truth, rng), shuffled(predicted, rng)), (renamed(truth, names), renamed(predicted, names))):
        assert astuple(score_identities([pair])) == pytest.approx(expected)
