"""Scores against the ground truth, with deliberate errors."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posewire.joints import COCO17, NANO19
from posewire.synth import FrameTruth, Scene, SceneConfig, Scorer


@pytest.fixture(scope="module")
def truths() -> list[FrameTruth]:
    scene = Scene(SceneConfig.preset("easy", width=160, height=120, frames=8, seed=2))
    return [frame.truth for frame in scene]


def perfect(truth: FrameTruth) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return truth.ids.copy(), truth.boxes.copy(), NANO19.convert(truth.joints, to=COCO17)


def test_the_truth_itself_scores_perfectly(truths: list[FrameTruth]) -> None:
    scorer = Scorer(COCO17)
    for truth in truths:
        scorer.add(truth, *perfect(truth))
    score = scorer.score()
    assert score.people == sum(int(truth.seen(0.25).sum()) for truth in truths) > 0
    assert (score.missed, score.false_people, score.identity_switches) == (0, 0, 0)
    assert (score.mean_error_px, score.pck, score.accuracy) == (0.0, 1.0, 1.0)
    assert score.mean_oks == pytest.approx(1.0)


def test_one_changed_id_is_one_switch(truths: list[FrameTruth]) -> None:
    scorer = Scorer(COCO17)
    for number, truth in enumerate(truths):
        ids, boxes, joints = perfect(truth)
        if number >= 3:
            ids[0] = 99
        scorer.add(truth, ids, boxes, joints)
    score = scorer.score()
    assert score.identity_switches == 1
    assert score.ids_used == score.identities + 1


def test_swapped_ids_are_two_switches(truths: list[FrameTruth]) -> None:
    scorer = Scorer(COCO17)
    for number, truth in enumerate(truths):
        ids, boxes, joints = perfect(truth)
        if number >= 4:
            ids[[0, 1]] = ids[[1, 0]]
        scorer.add(truth, ids, boxes, joints)
    assert scorer.score().identity_switches == 2


@pytest.mark.parametrize(("hidden", "on_return"), [(2, 0), (3, 1)])
def test_a_new_id_for_who_was_away_for_long_is_told_apart(
    truths: list[FrameTruth], hidden: int, on_return: int
) -> None:
    scorer = Scorer(COCO17, longest_gap=2)
    for truth in truths:
        ids, boxes, joints = perfect(truth)
        away = 1 <= truth.index <= hidden
        if truth.index > hidden + 1:  # not found at once
            ids[0] = 99 if truth.index < 7 else 100
        scorer.add(
            replace(truth, visible_fraction=np.where(away, 0, truth.visible_fraction).astype(np.float32)),
            ids[away or truth.index == hidden + 1 :],
            boxes[away or truth.index == hidden + 1 :],
            joints[away or truth.index == hidden + 1 :],
        )
    score = scorer.score()
    assert (score.identity_switches, score.switches_on_return) == (2, on_return)


def test_a_missing_and_an_invented_person_are_counted(truths: list[FrameTruth]) -> None:
    scorer = Scorer(COCO17)
    ids, boxes, joints = perfect(truths[0])
    joints[0, :, :2] += 300.0
    boxes[0] += 300.0
    scorer.add(truths[0], ids, boxes, joints)
    score = scorer.score()
    assert (score.missed, score.false_people) == (1, 1)


def test_joint_errors_are_distances_in_pixels(truths: list[FrameTruth]) -> None:
    scorer = Scorer(COCO17, least_oks=0.0)
    ids, boxes, joints = perfect(truths[0])
    joints[..., 0] += 3.0
    joints[..., 1] += 4.0
    scorer.add(truths[0], ids, boxes, joints)
    assert scorer.score().mean_error_px == pytest.approx(5.0, abs=1e-4)


@pytest.mark.parametrize(("heads", "pck"), [(0.45, 1.0), (0.55, 0.0)])
def test_pck_counts_joints_within_half_a_head(truths: list[FrameTruth], heads: float, pck: float) -> None:
    scorer = Scorer(COCO17, least_oks=0.0)
    ids, boxes, joints = perfect(truths[0])
    sizes = 0.6 * np.linalg.norm(truths[0].head_boxes[:, 2:] - truths[0].head_boxes[:, :2], axis=1)
    joints[..., 0] += heads * sizes[:, None]
    scorer.add(truths[0], ids, boxes, joints)
    assert scorer.score().pck == pck


@pytest.mark.parametrize(("state", "oks"), [(0, 1.0), (1, 16 / 17), (2, 16 / 17)])  # outside, hidden, visible
def test_joints_outside_the_picture_do_not_count_and_hidden_ones_only_for_oks(
    truths: list[FrameTruth], state: int, oks: float
) -> None:
    truth = replace(truths[0], joints=truths[0].joints.copy())
    truth.joints[..., 2] = 2
    truth.joints[:, NANO19.index("left_wrist"), 2] = state
    ids, boxes, joints = perfect(truth)
    joints[:, COCO17.index("left_wrist"), 0] += 500
    scorer = Scorer(COCO17)
    scorer.add(truth, ids, boxes, joints)
    score = scorer.score()
    assert score.mean_oks == pytest.approx(oks, abs=1e-3)
    assert score.mean_error_px == pytest.approx(500 / 17 if state == 2 else 0.0, abs=1e-3)


def test_one_person_found_twice_is_one_person_and_keeps_the_id(truths: list[FrameTruth]) -> None:
    scorer = Scorer(COCO17)
    for number, truth in enumerate(truths[:2]):
        ids, boxes, joints = perfect(truth)
        ids, boxes, joints = (np.concatenate([each[:1], each]) for each in (ids, boxes, joints))
        ids[number] = 99  # the second time, the better pose has the new id
        joints[0, :, 0] += 1.0
        scorer.add(truth, ids, boxes, joints)
    score = scorer.score()
    assert (score.missed, score.false_people, score.identity_switches) == (0, 2, 0)


def test_one_pose_is_one_person(truths: list[FrameTruth]) -> None:
    """Of two people in the same place, one is missed if there is one pose."""
    rows = [0, 0]
    truth = truths[0]
    alike = {name: getattr(truth, name)[rows] for name in ("joints", "boxes", "full_boxes", "head_boxes")}
    both = replace(truth, ids=np.array([1, 2]), visible_fraction=np.ones(2, np.float32), **alike)
    ids, boxes, joints = perfect(both)
    scorer = Scorer(COCO17)
    scorer.add(both, ids[:1], boxes[:1], joints[:1])
    assert (scorer.score().missed, scorer.score().false_people) == (1, 0)


def test_hardly_visible_people_need_not_be_found_but_may(truths: list[FrameTruth]) -> None:
    ids, boxes, joints = perfect(truths[0])
    for kept in (slice(None), slice(0, 0)):  # everybody found, nobody found
        scorer = Scorer(COCO17, least_visible=1.0)
        truth = truths[0]
        hidden = FrameTruth(**{**vars(truth), "visible_fraction": truth.visible_fraction * 0.9})
        scorer.add(hidden, ids[kept], boxes[kept], joints[kept])
        score = scorer.score()
        assert (score.people, score.missed, score.false_people) == (0, 0, 0)
        assert np.isnan(score.accuracy)
    boxes[:, ::2] += 0.5 * (boxes[:, 2:3] - boxes[:, :1])  # half beside them
    joints[..., 0] += 300.0
    scorer = Scorer(COCO17, least_visible=1.0)
    scorer.add(hidden, ids, boxes, joints)
    assert scorer.score().false_people == len(ids)


def test_order_of_people_does_not_matter(truths: list[FrameTruth]) -> None:
    straight, shuffled = Scorer(COCO17), Scorer(COCO17)
    rng = np.random.default_rng(0)
    for truth in truths:
        ids, boxes, joints = perfect(truth)
        joints[..., :2] += rng.normal(0, 2.0, joints[..., :2].shape).astype(np.float32)
        order = rng.permutation(len(ids))
        straight.add(truth, ids, boxes, joints)
        shuffled.add(truth, ids[order], boxes[order], joints[order])
    assert straight.score() == shuffled.score()


def test_bad_input_is_refused(truths: list[FrameTruth]) -> None:
    ids, boxes, joints = perfect(truths[0])
    with pytest.raises(ValueError, match="they must be"):
        Scorer(COCO17).add(truths[0], ids, boxes, joints[:, :5])
    with pytest.raises(ValueError, match="twice"):
        Scorer(COCO17).add(truths[0], np.ones_like(ids), boxes, joints)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        Scorer(COCO17, least_oks=2.0)
