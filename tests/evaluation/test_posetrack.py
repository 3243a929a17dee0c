"""PoseTrack's metrics, worked out by hand, and what they do not depend on.

Five frames of two people: poseval leaves the last one out when it tracks, which leaves eight of each joint.
"""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posewire.joints import COCO17, POSETRACK15
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.posetrack import PARTS, PerJoint, PoseTrackScores, score_posetrack
from posewire_evaluation.sequences import PoseFrame, PoseSequence
from tests.evaluation.people import JOINTS, changed, frame, pose, random_pair, renamed, sequence, shuffled, walk

METRICS = ("ap", "ap_precision", "ap_recall", "mota", "motp", "precision", "recall")


def totals(scores: PoseTrackScores) -> dict[str, float]:
    return {name: getattr(scores, name).total for name in METRICS}


def at(people: PoseSequence, number: int) -> dict[int, np.ndarray]:
    return dict(zip(people.frames[number].ids.tolist(), people.frames[number].joints, strict=True))


WALK = walk()
WITHOUT_2 = {1: at(WALK, 1)[1]}
WITH_A_GHOST = at(WALK, 1) | {9: pose(900, score=0.1)}
WITH_A_SURE_GHOST = at(WALK, 1) | {9: pose(900, score=1.0)}
PERFECT = {"ap": 100, "mota": 100, "motp": 100, "precision": 100, "recall": 100}


@pytest.mark.parametrize(
    ("predicted", "expected"),
    [
        pytest.param(WALK, PERFECT, id="perfect"),
        # Both people change their identity once: 2 of 8.
        pytest.param(renamed(WALK, {1: 2, 2: 1}, first=2), PERFECT | {"mota": 75}, id="swap"),
        pytest.param(renamed(WALK, {2: 7}, first=3), PERFECT | {"mota": 87.5}, id="new identity"),
        # One of 8 is missed where tracks are counted, one of 10 where poses are.
        pytest.param(
            changed(WALK, {1: WITHOUT_2}),
            PERFECT | {"ap": 90, "mota": 87.5, "recall": 87.5, "ap_recall": 90},
            id="miss",
        ),
        # A false positive with the lowest score costs no average precision; one with the highest all the way down.
        pytest.param(
            changed(WALK, {1: WITH_A_GHOST}),
            PERFECT | {"mota": 87.5, "precision": 800 / 9, "ap_precision": 1000 / 11},
            id="false positive",
        ),
        pytest.param(
            changed(WALK, {1: WITH_A_SURE_GHOST}),
            PERFECT | {"ap": 1000 / 11, "mota": 87.5, "precision": 800 / 9},
            id="sure false positive",
        ),
        # A quarter of a head beside the truth, everywhere.
        pytest.param(
            sequence(*(frame(t, {each: pose(200 * each + 3 * t + 5) for each in (1, 2)}) for t in range(5))),
            PERFECT | {"motp": 75},
            id="beside",
        ),
        # Half a head beside it is just near enough.
        pytest.param(
            sequence(*(frame(t, {each: pose(200 * each + 3 * t + 10) for each in (1, 2)}) for t in range(5))),
            PERFECT | {"motp": 50},
            id="half a head beside",
        ),
        # More than half a head beside it: each person is missed, and each pose is false.
        pytest.param(
            sequence(*(frame(t, {each: pose(200 * each + 3 * t + 11) for each in (1, 2)}) for t in range(5))),
            {"ap": 0, "mota": -100, "motp": 0, "precision": 0, "recall": 0},
            id="far beside",
        ),
        # poseval counts one miss and one false positive for a frame where nobody is predicted: 1 + 1 of 1 + 6.
        pytest.param(
            changed(WALK, {1: {}}),
            PERFECT | {"ap": 80, "mota": 100 * (1 - 2 / 7), "precision": 600 / 7, "recall": 600 / 7},
            id="empty prediction",
        ),
        # The last frame is not tracked, but its poses count.
        pytest.param(renamed(WALK, {1: 2, 2: 1}, first=4), PERFECT, id="swap in the last frame"),
        pytest.param(changed(WALK, {4: {}}), PERFECT | {"ap": 80}, id="empty last frame"),
        # Back to the old identity is a switch again.
        pytest.param(
            renamed(renamed(WALK, {2: 7}, first=1), {7: 2}, first=2), PERFECT | {"mota": 75}, id="there and back"
        ),
    ],
)
def test_by_hand(predicted: PoseSequence, expected: dict[str, float]) -> None:
    scores = score_posetrack([(WALK, predicted)])
    found = totals(scores)
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    assert (scores.sequences, scores.frames) == (1, 5)


def test_a_frame_without_people_is_not_scored() -> None:
    truth = changed(WALK, {2: {}})
    ghosts = changed(WALK, {2: {n: pose(100 * n) for n in range(3, 8)}})
    scores = score_posetrack([(truth, ghosts)])
    assert totals(scores) == pytest.approx(totals(score_posetrack([(truth, truth)])))
    assert scores.frames == 4


def test_nothing_counts_in_an_ignored_region() -> None:
    # Person 2 and a ghost near by stand in it; a second ghost stands beside it.
    region = np.array([[350, 0], [600, 0], [600, 900], [350, 900]])
    truth = walk(ignore_regions=[region])
    people = {t: at(WALK, t) | {8: pose(500), 9: pose(800, score=0.1)} for t in range(5)}
    scores = score_posetrack([(truth, changed(WALK, people))])
    assert scores.counts.matches.tolist() == [4] * JOINTS
    assert scores.counts.false_positives.tolist() == [4] * JOINTS
    assert scores.mota.total == pytest.approx(0)
    assert scores.ap.total == pytest.approx(100)


def test_regions_of_predictions_mean_nothing() -> None:
    everything = [np.array([[-1e4, -1e4], [1e4, -1e4], [1e4, 1e4], [-1e4, 1e4]])]
    assert totals(score_posetrack([(WALK, walk(ignore_regions=everything))])) == pytest.approx(
        totals(score_posetrack([(WALK, WALK)]))
    )


def test_a_person_with_one_joint() -> None:
    # Of person 2 the nose alone is annotated: the pose is right, and its 14 other joints are false.
    nose = sequence(*(frame(t, {1: at(WALK, t)[1], 2: pose(400 + 3 * t, only=["nose"])}) for t in range(5)))
    scores = score_posetrack([(nose, WALK)])
    assert scores.mota.values[0] == pytest.approx(100)
    assert scores.mota.values[1:].tolist() == pytest.approx([0] * 14)
    assert scores.counts.false_positives.tolist() == [0] + [4] * 14
    assert scores.precision.values.tolist() == pytest.approx([100] + [50] * 14)


def test_a_joint_that_is_never_annotated_has_no_value() -> None:
    only = [name for name in POSETRACK15.names if name != "left_wrist"]
    truth = sequence(*(frame(t, {1: pose(100, only=only)}) for t in range(3)))
    perfect = sequence(*(frame(t, {1: pose(100)}) for t in range(3)))
    scores = score_posetrack([(truth, perfect)])
    wrist = POSETRACK15.index("left_wrist")
    for metric in (scores.ap, scores.mota, scores.recall):
        assert math.isnan(metric.values[wrist])
        assert metric.total == pytest.approx(100)  # the mean of the others
        assert math.isnan(metric.by_part["Wri"])
    # As in poseval: these two have a value where nothing is right, and it counts.
    assert scores.precision.values[wrist] == 0
    assert scores.motp.values[wrist] == 0


def test_sequences_are_summed_not_averaged() -> None:
    short, long = walk(3), walk(9)
    scores = score_posetrack([(short, changed(short, {0: {1: at(short, 0)[1]}})), (long, long)])
    assert scores.mota.total == pytest.approx(100 * (1 - 1 / 20))  # one miss of 2 * 2 + 8 * 2
    assert (scores.sequences, scores.frames) == (2, 12)


def test_identities_of_two_sequences_are_not_the_same_people() -> None:
    assert score_posetrack([(WALK, WALK), (WALK, renamed(WALK, {1: 2, 2: 1}))]).switches.sum() == 0


def test_one_labelled_frame_has_poses_but_no_tracks() -> None:
    scores = score_posetrack([(walk(1), walk(1))])
    assert scores.ap.total == pytest.approx(100)
    assert math.isnan(scores.mota.total)


def test_parts_are_those_of_the_joints() -> None:
    assert sorted(name for names in PARTS.values() for name in names) == sorted(POSETRACK15.names)
    values = PerJoint(POSETRACK15.names, np.arange(15, dtype=np.float64))
    assert values.by_part["Head"] == 1  # rows 0, 1 and 2
    assert values.by_part["Ankl"] == 13.5
    assert list(values.by_part) == ["Head", "Shou", "Elb", "Wri", "Hip", "Knee", "Ankl"]


def other_joints(people: PoseSequence) -> PoseSequence:
    frames = tuple(PoseFrame.of(each.number, each.ids, np.zeros((len(each), 17, 3))) for each in people.frames)
    return PoseSequence(people.name, COCO17, frames, "dt.json")


@pytest.mark.parametrize(
    ("predicted", "said"),
    [
        (
            sequence(*WALK.frames[:2], *WALK.frames[3:], source="dt.json"),
            "dt.json: frame 2 is missing; .* has 5 frames",
        ),
        (sequence(*WALK.frames[:2], source="dt.json"), "dt.json: frame 2 is missing, with 2 more"),
        (sequence(*walk(7).frames, source="dt.json"), "dt.json: frame 5 is not in the truth, nor are 1 more"),
        (other_joints(WALK), "dt.json has the joints coco17, .* posetrack15"),
    ],
)
def test_what_does_not_go_together_is_refused(predicted: PoseSequence, said: str) -> None:
    with pytest.raises(EvaluationError, match=said):
        score_posetrack([(WALK, predicted)])


def test_nothing_to_score_is_refused() -> None:
    nobody = sequence(frame(0, {}), frame(1, {}))
    with pytest.raises(EvaluationError, match="nothing to score"):
        score_posetrack([(nobody, nobody)])
    with pytest.raises(EvaluationError, match="nothing to score"):
        score_posetrack([])


@settings(max_examples=25)
@given(st.integers(0, 10_000))
def test_order_and_names_of_predictions_do_not_matter(seed: int) -> None:
    """Except in AP, in which the first of equally good poses counts. The order of the truth can matter, too."""
    truth, predicted = random_pair(seed)
    rng = np.random.default_rng(seed)
    try:
        expected = totals(score_posetrack([(truth, predicted)]))
    except EvaluationError:
        return  # nobody in the truth
    names = dict(enumerate(rng.permutation(200).tolist()))
    found = totals(score_posetrack([(renamed(truth, names), renamed(shuffled(predicted, rng), names))]))
    for metric in ("mota", "motp", "precision", "recall"):
        assert found[metric] == pytest.approx(expected[metric], nan_ok=True), metric


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_names_of_people_do_not_matter(seed: int) -> None:
    truth, predicted = random_pair(seed)
    names = dict(enumerate(np.random.default_rng(seed).permutation(200).tolist()))
    try:
        expected = totals(score_posetrack([(truth, predicted)]))
    except EvaluationError:
        return
    found = totals(score_posetrack([(renamed(truth, names), renamed(predicted, names))]))
    assert found == pytest.approx(expected, nan_ok=True)


@settings(max_examples=10)
@given(st.integers(0, 10_000))
def test_the_order_of_sequences_does_not_matter(seed: int) -> None:
    pairs = [random_pair(seed + place) for place in range(3)]
    try:
        expected = totals(score_posetrack(pairs))
    except EvaluationError:
        return
    assert totals(score_posetrack(pairs[::-1])) == pytest.approx(expected, nan_ok=True)
