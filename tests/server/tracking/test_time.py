"""Frames that are missing, and cameras that are uneven: time counts, not the number of frames."""

from __future__ import annotations

import numpy as np
import pytest

from posewire_server.tracking import LONGEST_GAP, Boxes, Similarity, Tracker
from posewire_server.tracking.propagation import move, velocities
from tests.server.tracking.people import STILL, UniformFlow, boxes_at, joints_at, people_at, queue_of, tracker

Places = list[tuple[float, float]]


def _step(t: Tracker, places: Places, elapsed: float = 1.0, flow: UniformFlow | None = STILL) -> list[int]:
    """As `people.step`, after a gap."""
    boxes = t.unify(boxes_at(places), flow, elapsed)
    joints = joints_at(boxes.xyxy[:, :2])
    joints[boxes.track_ids > 0, :, 2] = 0.01
    people = t.update(boxes, joints)
    found = {tuple(box[:2]): int(each) for each, box in zip(people.ids, people.boxes.xyxy.tolist(), strict=True)}
    return [found[place] for place in places]


@pytest.mark.parametrize(("elapsed", "id_"), [(1.0, 2), (4.0, 2), (4.4, 2), (4.6, 3), (5.0, 3), (50.0, 3)])
def test_a_lost_person_is_known_for_the_queue_length_in_time(elapsed: float, id_: int) -> None:
    t = tracker(queue_length=5)
    _step(t, [(0, 0), (300, 0)])
    _step(t, [(0, 0)])
    assert _step(t, [(0, 0), (300, 0)], elapsed) == [1, id_]


def test_who_was_in_the_frame_before_is_known_after_any_gap() -> None:
    t = tracker(queue_length=5)
    for _ in range(4):  # a server that tracks one frame in twenty
        assert _step(t, [(0, 0), (300, 0)], 20.0) == [1, 2]


@pytest.mark.parametrize(("gap", "id_"), [(LONGEST_GAP, 1), (LONGEST_GAP + 1, 2)])
def test_after_too_long_a_gap_nobody_is_known_and_the_detector_is_due(gap: float, id_: int) -> None:
    t = tracker(detect_every=4)
    _step(t, [(0, 0)])
    t.forget_after(gap)
    assert t.detector_due is (id_ == 2)
    assert _step(t, [(0, 0)]) == [id_]


def test_somebody_who_walks_on_through_a_gap_while_hidden_is_known_again() -> None:
    known = {}
    for elapsed in (5.0, 1.0):
        t = tracker(queue_length=10)
        for frame in range(4):
            ids = _step(t, [(300, 0), (12.0 * frame, 0)])
        _step(t, [(300, 0)])  # behind the other
        known[elapsed] = _step(t, [(300, 0), (12.0 * 9, 0)], elapsed) == ids
    assert known == {5.0: True, 1.0: False}  # told the truth about time, it knows where to look


def test_lost_people_coast_as_far_as_time_has_passed() -> None:
    queue = queue_of(people_at([(0, 0), (300, 0)], [1, 2]), people_at([(20, 0)], [2]), velocity=(4, 1))
    moved = move(queue, UniformFlow(-30), elapsed=2.5)
    np.testing.assert_allclose(moved.moved[0], queue.moved[0] + [10, 2.5])
    np.testing.assert_allclose(moved.moved[1], queue.moved[1] - [30, 0])  # the flow spans the gap by itself


def test_velocities_are_per_interval() -> None:
    people = people_at([(12, -6)], [1])
    found = velocities(people, people.joints[..., 2] > 0, queue_of(people_at([(0, 0)], [1])), elapsed=3.0)
    np.testing.assert_allclose(found, [[4, -2]], rtol=1e-5)


def test_a_frame_that_fails_after_its_boxes_leaves_its_time() -> None:
    t = tracker(queue_length=5, similarity=Similarity.MULTI_FLOW)
    _step(t, [(0, 0), (300, 0)])
    _step(t, [(0, 0)])
    t.unify(boxes_at([(0, 0)]), STILL, 3.0)  # and no poses
    assert _step(t, [(0, 0), (300, 0)], 3.0) == [1, 3]


def test_a_restored_tracker_keeps_the_time() -> None:
    one, other = tracker(queue_length=5), tracker(queue_length=5)
    _step(one, [(0, 0), (300, 0)])
    _step(one, [(0, 0)], 3.0)
    other.restore(one.state())
    assert _step(other, [(0, 0), (300, 0)], 3.0) == _step(one, [(0, 0), (300, 0)], 3.0) == [1, 3]


def test_frames_without_time_between_them_neither_pile_up_nor_make_people_fast() -> None:
    t = tracker(queue_length=5)
    for frame in range(40):
        assert _step(t, [(0, 0), (300 + 2.0 * frame, 0)], 1e-40) == [1, 2]
    queue = t.state().queue
    assert len(queue) == 2 * 10  # five intervals, each half of one
    np.testing.assert_allclose(queue.velocities[-1], [4, 0], atol=0.01)


def test_time_without_end_comes_to_an_end() -> None:
    t = tracker(queue_length=5)
    for _ in range(20):
        assert _step(t, [(0, 0)], 1e38) == [1]
        for _ in range(12):
            _step(t, [(0, 0)], 0.5)
    assert len(t.state().queue) <= 10


def _detector_runs(t: Tracker, frames: int) -> list[bool]:
    ran = []
    for _ in range(frames):
        ran.append(t.detector_due)
        t.update(t.unify(boxes_at([(0, 0)]) if t.detector_due else None, STILL), joints_at([(0, 0)]))
    return ran


def test_the_detector_can_be_asked_less_often_for_a_while() -> None:
    t = tracker(detect_every=1)
    assert _detector_runs(t, 2) == [True, True]
    t.detect_every = 4
    assert _detector_runs(t, 6) == [False, False, False, True, False, False]
    t.detect_every = 2
    assert _detector_runs(t, 3) == [True, False, True]  # counted from the last run


def test_the_detector_is_due_on_the_first_frame_however_seldom_it_is_to_run() -> None:
    t = tracker()
    t.detect_every = 2**32 - 1
    assert _detector_runs(t, 3) == [True, False, False]


@pytest.mark.parametrize("catches_up", [False, True])  # as it does in time, or when a token is made
def test_a_run_that_is_brought_forward_comes_at_half_the_time_of_the_pace_in_force(catches_up: bool) -> None:
    t = tracker(detect_every=4)
    for score in (0.9, 0.6):  # scores that do not hold bring it forward
        t.update(t.unify(boxes_at([(0, 0)]) if t.detector_due else None, STILL), joints_at([(0, 0)], score))
    if catches_up:
        t.catch_up()
    t.detect_every = 8
    assert _detector_runs(t, 6) == [False, False, True, False, False, False]


def test_a_state_from_a_time_of_few_detections_does_not_bind_another_tracker() -> None:
    t, other = tracker(), tracker()
    t.detect_every = 8
    _detector_runs(t, 1)
    other.restore(t.state())
    assert other.detector_due


def test_a_run_that_was_brought_forward_stays_so_in_another_tracker() -> None:
    t, other = tracker(detect_every=6), tracker(detect_every=6)
    for score in (0.9, 0.6):
        t.update(t.unify(boxes_at([(0, 0)]) if t.detector_due else None, STILL), joints_at([(0, 0)], score))
    other.restore(t.state())
    assert _detector_runs(other, 3) == _detector_runs(t, 3) == [False, True, False]


def test_the_detector_stays_due_until_it_runs() -> None:
    t = tracker(detect_every=4)
    for detections, is_due in ((None, True), (None, True), (Boxes.empty(), False)):
        t.unify(detections, None)
        assert t.detector_due is is_due


def test_after_a_frame_whose_poses_failed_the_detector_is_due_as_planned() -> None:
    t = tracker()
    t.unify(Boxes.empty(), None)
    assert t.detector_due
