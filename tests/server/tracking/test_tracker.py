from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posewire_server.tracking import Boxes, BoxSource, Similarity, Tracker
from tests.server.tracking.people import STILL, UniformFlow, boxes_at, joints_at, step, tracker

KINDS = list(Similarity)


def test_ids_start_at_one_in_every_tracker() -> None:
    assert step(tracker(), [(0, 0), (300, 0)]) == [1, 2]
    assert step(tracker(), [(0, 0)]) == [1]


@pytest.mark.parametrize("kind", KINDS)
def test_people_keep_their_ids_and_newcomers_get_fresh_ones(kind: Similarity) -> None:
    t = tracker(similarity=kind)
    first = step(t, [(0, 0), (300, 0)], flow=None)
    assert step(t, [(305, 0), (4, 0)], UniformFlow(4)) == first[::-1]
    assert step(t, [(310, 0), (600, 0), (8, 0)], UniformFlow(4)) == [first[1], 3, first[0]]
    assert t.identities == 3


@pytest.mark.parametrize(("threshold", "id_"), [(0.1, 1), (0.9, 2)])
def test_who_is_less_alike_than_the_match_threshold_is_somebody_new(threshold: float, id_: int) -> None:
    t = tracker(match_threshold=threshold)
    step(t, [(0, 0)])
    assert step(t, [(15, 0)]) == [id_]


@pytest.mark.parametrize("source", [BoxSource.DETECTOR, BoxSource.CALLER])
def test_who_shows_two_joints_is_nobody_new_unless_the_caller_says_so(source: BoxSource) -> None:
    t = tracker()
    boxes = t.unify(boxes_at([(0, 0)], source=source), None)
    pose = joints_at([(0, 0)], score=0.39)
    pose[:, :2, 2] = 1.0
    assert t.update(boxes, pose).ids.tolist() == ([1] if source == BoxSource.CALLER else [])
    pose[:, 2, 2] = 0.41
    assert t.update(t.unify(boxes, STILL)[:1], pose).ids.tolist() == [1]
    pose[..., 2] = 0.1
    assert t.update(t.unify(boxes, STILL)[:1], pose).ids.tolist() == [1]  # who is known may be seen badly
    assert t.identities == 1


@pytest.mark.parametrize(
    ("size", "is_known"), [((240, 427), True), ((360, 640), True), ((480, 640), False), ((480, 820), False)]
)
def test_frames_of_another_size_show_the_same_unless_their_shape_is_another(
    size: tuple[int, int], is_known: bool
) -> None:
    t = tracker()
    step(t, [(0, 0), (300, 0)], flow=None)
    t.resize((480, 854), size)
    scale = np.float32([size[1] / 854, size[0] / 480])
    boxes = boxes_at([(0, 0), (300, 0)])
    joints = joints_at([(0, 0), (300, 0)])
    joints[..., :2] *= scale
    boxes = Boxes.of(boxes.xyxy * np.tile(scale, 2), boxes.scores, BoxSource.DETECTOR)
    for _ in range(2):  # and so they go on
        assert t.update(t.unify(boxes, None), joints).ids.tolist() == ([1, 2] if is_known else [3, 4])


@pytest.mark.parametrize("hidden_for", [1, 4, 9])
def test_multi_flow_bridges_an_occlusion_of_up_to_queue_length_less_one(hidden_for: int) -> None:
    outcome = {}
    for kind in (Similarity.FLOW, Similarity.MULTI_FLOW):
        t = tracker(similarity=kind, queue_length=10)
        step(t, [(0, 0), (300, 0)])
        for _ in range(hidden_for):
            step(t, [(0, 0)])
        outcome[kind] = step(t, [(0, 0), (300, 0)])
    assert outcome == {Similarity.MULTI_FLOW: [1, 2], Similarity.FLOW: [1, 3]}


def test_an_occlusion_longer_than_the_queue_is_not_bridged() -> None:
    t = tracker(queue_length=10)
    step(t, [(0, 0), (300, 0)])
    for _ in range(10):
        step(t, [(0, 0)])
    assert step(t, [(0, 0), (300, 0)]) == [1, 3]


def test_somebody_far_away_is_not_taken_for_somebody_close_who_left() -> None:
    t = tracker(propagation=False)
    ids = []
    for place, scale in ((0.0, 3.0), (100.0, 0.5)):
        boxes, joints = boxes_at([(0, 0)]), joints_at([(0, 0)])
        joints[..., :2] = joints[..., :2] * scale + place
        joints[:, [joint for joint in range(17) if joint not in (5, 6, 11, 12)], 2] = 0.1  # only the trunk is seen
        boxes = Boxes.of(boxes.xyxy * scale + place, boxes.scores, BoxSource.DETECTOR)
        ids += t.update(t.unify(boxes, STILL), joints).ids.tolist()
    assert ids == [1, 2]


def test_somebody_who_walks_on_while_hidden_is_known_again() -> None:
    t = tracker(queue_length=10)
    for frame in range(4):
        ids = step(t, [(300, 0), (12.0 * frame, 0)], STILL if frame else None)
    for _ in range(6):  # the flow says that nothing moves: it sees the one in front
        step(t, [(300, 0)])
    assert step(t, [(300, 0), (12.0 * 10, 0)]) == ids


def test_somebody_missed_for_a_frame_before_is_known_again_too() -> None:
    t = tracker(queue_length=10)
    for frame in range(20):
        ids = step(t, [(300, 0), (12.0 * frame, 300)], STILL if frame else None)
    step(t, [(300, 0)])
    assert step(t, [(300, 0), (12.0 * 21, 300)]) == ids
    for _ in range(6):
        step(t, [(300, 0)])
    assert step(t, [(300, 0), (12.0 * 28, 300)]) == ids


def test_somebody_seen_badly_before_hiding_is_known_again_too() -> None:
    t = tracker(queue_length=10)
    for frame in range(10):
        ids = step(t, [(300, 0), (12.0 * frame, 300)], STILL if frame else None)
    for frame in range(10, 13):  # no joint counts
        assert step(t, [(300, 0), (12.0 * frame, 300)], score=0.35) == ids
    for _ in range(7):
        step(t, [(300, 0)])
    assert step(t, [(300, 0), (12.0 * 20, 300)]) == ids


def test_joint_propagation_keeps_a_person_whom_the_detector_misses() -> None:
    found = {}
    for propagation in (True, False):
        t = tracker(propagation=propagation)
        t.update(t.unify(boxes_at([(0, 0)]), None), joints_at([(0, 0)]))
        boxes = t.unify(Boxes.empty(), UniformFlow(20))
        found[propagation] = boxes.sources.tolist()
        if propagation:
            people = t.update(boxes, joints_at([(20, 0)]))
            assert people.ids.tolist() == [1]
            assert people.boxes.xyxy[0, 0] > 20
    assert found == {True: [BoxSource.FLOW], False: []}


def test_a_flow_box_without_a_person_in_it_is_nobody() -> None:
    t = tracker()
    t.update(t.unify(boxes_at([(0, 0)]), None), joints_at([(0, 0)]))
    boxes = t.unify(Boxes.empty(), STILL)
    assert len(boxes) == 1
    assert len(t.update(boxes, joints_at([(0, 0)], score=0.05))) == 0


@pytest.mark.parametrize(
    ("threshold", "score", "ids"),
    [
        (0.2, 0.25, [1]),  # the default is 0.3
        (0.7, 0.6, []),
    ],
)
def test_a_pose_in_a_flow_box_is_believed_from_the_propagation_threshold_on(
    threshold: float, score: float, ids: list[int]
) -> None:
    t = tracker(propagation_threshold=threshold)
    step(t, [(0, 0)])
    assert t.update(t.unify(Boxes.empty(), STILL), joints_at([(0, 0)], score)).ids.tolist() == ids


def test_a_flow_box_on_somebody_who_was_detected_founds_no_track_and_takes_none() -> None:
    t = tracker()
    step(t, [(0, 0)])
    # The detector's box has moved so far that both boxes pass the NMS, and the pose in it is the less similar one.
    boxes = t.unify(boxes_at([(50, 0)]), STILL)
    assert sorted(boxes.sources.tolist()) == [BoxSource.DETECTOR, BoxSource.FLOW]
    places = np.where(boxes.sources[:, None] == BoxSource.FLOW, (2.0, 0.0), (22.0, 0.0))
    people = t.update(boxes, joints_at(places))
    assert people.ids.tolist() == [1]
    assert people.boxes.sources.tolist() == [BoxSource.DETECTOR]


def test_a_flow_box_takes_no_track_but_its_own() -> None:
    t = tracker()
    step(t, [(0, 0), (300, 0)])
    boxes = t.unify(Boxes.empty(), STILL)
    assert sorted(boxes.track_ids.tolist()) == [1, 2]
    # In the flow box of 1 the network finds the pose of 2, and in that of 2 nobody.
    joints = joints_at([(300, 0), (300, 0)])
    joints[boxes.track_ids == 2, :, 2] = 0.01
    assert t.update(boxes, joints).ids.tolist() == []


def runs_carried(t: Tracker) -> int:
    """For how many runs of the detector that all miss person 1, who stands at (0, 0), the flow carries it on."""
    runs = 0
    while len(boxes := t.unify(Boxes.empty(), STILL)):
        assert t.update(boxes, joints_at([(0, 0)])).ids.tolist() == [1]
        runs += 1
    return runs


@pytest.mark.parametrize(
    ("found", "carried"),
    [
        (1, 2),  # what the detector took for a person once is soon gone
        (2, 4),
        (9, 5),  # somebody seen for long is carried for L_Q runs, and no longer
    ],
)
def test_a_person_is_carried_for_as_long_as_the_detector_gave_credit(found: int, carried: int) -> None:
    t = tracker(queue_length=5)
    for _ in range(found):
        step(t, [(0, 0)])
    assert runs_carried(t) == carried


@pytest.mark.parametrize(
    ("missed", "carried"),
    [
        (1, 5),  # 4 - 1 + 2
        (3, 3),
        (5, 2),  # it does not fall below 0
    ],
)
def test_each_run_that_misses_a_lost_person_takes_credit_and_the_rest_stays(missed: int, carried: int) -> None:
    t = tracker(queue_length=6)
    for _ in range(2):
        step(t, [(0, 0)])  # credit 4
    for _ in range(missed):
        step(t, [])
    step(t, [(0, 0)])
    assert runs_carried(t) == carried


def test_frames_without_the_detector_cost_a_lost_person_no_credit() -> None:
    t = tracker(queue_length=6)
    for _ in range(2):
        step(t, [(0, 0)])  # credit 4
    for _ in range(3):
        boxes = t.unify(None, STILL)
        t.update(boxes, joints_at(boxes.xyxy[:, :2], score=0.01))  # lost, and nobody has looked
    step(t, [(0, 0)])
    assert runs_carried(t) == 6


def test_between_detector_frames_the_flow_boxes_carry_on_alone() -> None:
    t = tracker(detect_every=4, queue_length=2)
    ran = []
    for frame in range(12):
        ran.append(t.detector_due)
        boxes = t.unify(boxes_at([(5.0 * frame, 0)]) if t.detector_due else None, UniformFlow(5))
        people = t.update(boxes, joints_at([(5.0 * frame, 0)]))
        assert people.ids.tolist() == [1]
    assert ran == [True, False, False, False] * 3


def runs_of_the_detector(t: Tracker, scores: Sequence[float]) -> list[int]:
    """Frames on which the detector is due, of a person whose poses have these scores."""
    ran = []
    for frame, score in enumerate(scores):
        if t.detector_due:
            ran.append(frame)
        boxes = t.unify(boxes_at([(0, 0)]) if frame in ran else None, STILL)
        t.update(boxes, joints_at(boxes.xyxy[:, :2], score=score))
    return ran


@pytest.mark.parametrize(
    ("scores", "runs"),
    [
        ([0.9] * 13, [0, 6, 12]),
        ([0.9, 0.9, 0.85, 0.8, 0.8, 0.9] * 2 + [0.9], [0, 6, 12]),  # a little worse is no reason
        ([0.9, 0.6] + [0.9] * 8, [0, 3, 9]),  # much worse: it runs after half the time
        ([0.9, 0.9, 0.9, 0.9, 0.6] + [0.9] * 7, [0, 5, 11]),  # ... or at once, if that is over
        ([0.9, 0.1] + [0.9] * 8, [0, 3, 9]),  # gone altogether
        ([0.9] + [0.6] * 12, [0, 3, 6, 9, 12]),  # never more often, however bad
    ],
)
def test_the_detector_runs_sooner_when_scores_do_not_hold(scores: list[float], runs: list[int]) -> None:
    assert runs_of_the_detector(tracker(detect_every=6), scores) == runs


def test_the_detector_runs_at_most_twice_as_often_at_an_odd_pace_too() -> None:
    assert runs_of_the_detector(tracker(detect_every=5), [0.9] + [0.6] * 6) == [0, 3, 6]


def test_pose_nms_drops_the_second_pose_on_one_person() -> None:
    t = tracker(propagation=False)
    boxes = boxes_at([(0, 0)], score=0.9) + boxes_at([(90, 0)], score=0.7)  # hardly an overlap of the boxes ...
    people = t.update(t.unify(boxes, None), joints_at([(0, 0), (2, 0)]))  # ... but both poses fell on one person
    assert people.ids.tolist() == [1]
    assert people.boxes.scores.tolist() == pytest.approx([0.9])


def test_pose_nms_keeps_the_pose_that_may_found_a_track() -> None:
    t = tracker(propagation=False)
    boxes = boxes_at([(0, 0)], score=0.9) + boxes_at([(90, 0)], score=0.7)
    joints = joints_at([(0, 0), (2, 0)], score=0.45)
    joints[0, :, 2] = [0.8, 0.8] + [0.35] * 15  # few joints count, but those much: the score is the higher one
    people = t.update(t.unify(boxes, None), joints)
    assert people.ids.tolist() == [1]
    assert people.boxes.scores.tolist() == pytest.approx([0.7])


def test_pose_nms_keeps_whom_the_flow_box_shows_better() -> None:
    t = tracker()
    step(t, [(0, 0)])
    boxes = t.unify(boxes_at([(70, 0)]), STILL)
    assert sorted(boxes.sources.tolist()) == [BoxSource.DETECTOR, BoxSource.FLOW]
    joints = joints_at([(0, 0), (0, 0)])
    joints[boxes.sources == BoxSource.DETECTOR, 2:, 2] = 0.3  # two joints count
    people = t.update(boxes, joints)
    assert people.ids.tolist() == [1]
    assert people.boxes.sources.tolist() == [BoxSource.FLOW]


def test_every_box_of_the_caller_gets_its_person() -> None:
    boxes = boxes_at([(0, 0), (10, 0)], source=BoxSource.CALLER)
    t = tracker()
    assert sorted(t.update(t.unify(boxes, None), joints_at([(0, 0), (2, 0)])).ids.tolist()) == [1, 2]


def test_pose_nms_can_be_switched_off() -> None:
    t = tracker(pose_nms_oks=1.0)
    boxes = boxes_at([(0, 0), (90, 0)])
    assert len(t.update(t.unify(boxes, None), joints_at([(0, 0), (0, 0)]))) == 2


def test_doubtful_boxes_are_dropped() -> None:
    t = tracker()
    assert len(t.unify(boxes_at([(0, 0)], score=0.49) + boxes_at([(300, 0)], score=0.5), None)) == 1


def test_box_nms_goes_by_the_settings() -> None:
    side_by_side = boxes_at([(0, 0), (30, 0)])  # IoU 0.45
    assert len(tracker().unify(side_by_side, None)) == 2
    assert len(tracker(box_nms_iou=0.4).unify(side_by_side, None)) == 1
    assert len(tracker(max_people=1).unify(boxes_at([(0, 0), (300, 0)]), None)) == 1


@pytest.mark.parametrize(("confident", "score"), [(5, 0.4), (1, 0.4), (0, 0.0)])
def test_scores_are_box_times_the_joints_that_count(confident: int, score: float) -> None:
    joints = joints_at([(0, 0)], score=0.8)
    joints[0, confident:, 2] = 0.1
    people = tracker().update(boxes_at([(0, 0)], 0.5, BoxSource.CALLER), joints)
    assert people.scores.tolist() == pytest.approx([score])


def test_an_empty_scene_is_followed_too() -> None:
    t = tracker()
    for flow in (None, STILL, STILL):
        assert len(t.update(t.unify(Boxes.empty(), flow), joints_at([]))) == 0
    assert step(t, [(0, 0)]) == [1]


def test_joints_of_another_joint_set_are_refused() -> None:
    with pytest.raises(ValueError, match=r"2 boxes with 17 joints each need \(2, 17, 3\)"):
        tracker().update(boxes_at([(0, 0), (300, 0)]), np.zeros((2, 15, 3), np.float32))


def test_a_restored_tracker_goes_on_as_the_first_would() -> None:
    course = [[(6.0 * f, 0), (300 - 6.0 * f, 5)] for f in range(12)]
    one, other = tracker(detect_every=1), tracker(detect_every=1)
    for places in course[:6]:
        step(one, places)
    other.restore(one.state())
    for places in course[6:]:
        assert step(other, places) == step(one, places)
    assert other.identities == one.identities


def test_no_id_is_given_twice_although_its_track_has_left_the_queue() -> None:
    one, other = tracker(queue_length=2, propagation=False), tracker(queue_length=2, propagation=False)
    step(one, [(0, 0), (300, 0)])
    for _ in range(3):
        step(one, [(0, 0)])  # of person 2 nothing is left in Q
    other.restore(one.state())
    assert step(other, [(0, 0), (600, 0)]) == [1, 3]


def test_people_whom_only_their_ids_tell_apart_keep_them_in_any_order() -> None:
    found = []
    for order in ([0, 1], [1, 0]):
        t = tracker(box_nms_iou=1.0, pose_nms_oks=1.0)
        t.update(t.unify(boxes_at([(0, 0), (90, 0)]), None), joints_at([(0, 0), (0, 0)]))
        t.config = replace(t.config, pose_nms_oks=0.7)
        found.append(t.update(t.unify(Boxes.empty(), STILL)[order], joints_at([(0, 0), (0, 0)])).ids.tolist())
    assert found[0] == found[1]


walks = st.lists(  # frames of people at random places on a coarse grid: crossings, ties and duplicates are frequent
    st.lists(
        st.tuples(st.integers(0, 12).map(lambda x: x * 25.0), st.sampled_from([0.0, 60.0])), max_size=6, unique=True
    ),
    min_size=1,
    max_size=8,
)


@settings(max_examples=60, deadline=None)
@given(walks=walks, seed=st.integers(0, 2**32 - 1), kind=st.sampled_from(KINDS))
def test_ids_are_unique_and_do_not_depend_on_the_order_of_people(
    walks: list[list[tuple[float, float]]], seed: int, kind: Similarity
) -> None:
    rng = np.random.default_rng(seed)
    straight, shuffled = tracker(similarity=kind), tracker(similarity=kind)
    for places in walks:
        seen = []
        for t, order in ((straight, np.arange(len(places))), (shuffled, rng.permutation(len(places)))):
            boxes = t.unify(boxes_at(places)[order], UniformFlow(3))
            mixed = np.arange(len(boxes)) if t is straight else rng.permutation(len(boxes))
            people = t.update(boxes[mixed], joints_at(boxes.xyxy[mixed][:, :2]))
            assert len(set(people.ids.tolist())) == len(people)
            assert (people.ids >= 1).all()
            found = zip(people.ids.tolist(), people.boxes.xyxy.tolist(), strict=True)
            seen.append({(id_, *box) for id_, box in found})
        assert seen[0] == seen[1]
