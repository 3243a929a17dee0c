from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from posewire_server.tracking import BoxSource, TrackedPeople, TrackerConfig
from posewire_server.tracking.propagation import flow_boxes, move, velocities
from posewire_server.tracking.queue import Queue
from tests.server.tracking.people import UniformFlow, people_at, queue_of

CONFIG = TrackerConfig(queue_length=4)


def velocities_of(people: TrackedPeople, queue: Queue) -> np.ndarray:
    return velocities(people, people.joints[..., 2] >= CONFIG.joint_score_threshold, queue, 1.0)


def test_the_whole_queue_follows_the_newest_flow() -> None:
    queue = queue_of(people_at([(0, 0)], [1]), people_at([(10, 0)], [1]))
    moved = move(queue, UniformFlow(7, 3), 1.0)
    np.testing.assert_allclose(moved.moved, queue.moved + [7, 3])
    assert moved.joints is queue.joints  # what was found in a frame stays as it was found


def test_a_lost_person_coasts_and_is_not_carried_off_by_whoever_hides_it() -> None:
    queue = queue_of(people_at([(0, 0), (300, 0)], [1, 2]), people_at([(20, 0)], [2]), velocity=(4, 1))
    moved = move(queue, UniformFlow(-30), 1.0)
    np.testing.assert_allclose(moved.moved[0], queue.moved[0] + [4, 1])  # lost: its own velocity
    np.testing.assert_allclose(moved.moved[1], queue.moved[1] - [30, 0])  # in view: the flow
    np.testing.assert_allclose(moved.moved[2], queue.moved[2] - [30, 0])


def test_an_empty_queue_and_empty_frames_move_nowhere() -> None:
    for queue in (queue_of(), queue_of(people_at([], []))):
        assert move(queue, UniformFlow(1), 1.0).moved.shape == (0, 17, 2)


def test_velocity_is_the_displacement_and_then_its_smoothed_course() -> None:
    first = velocities_of(people_at([(0, 0)], [1]), queue_of())
    np.testing.assert_array_equal(first, [[0, 0]])
    second = velocities_of(people_at([(8, 2)], [1]), queue_of(people_at([(0, 0)], [1])))
    np.testing.assert_allclose(second, [[8, 2]], rtol=1e-5)
    third = velocities_of(people_at([(20, 2)], [1]), replace(queue_of(people_at([(8, 2)], [1])), velocities=second))
    np.testing.assert_allclose(third, [[10, 1]], rtol=1e-5)


def test_velocity_is_that_of_the_joints_that_are_confident_both_times() -> None:
    before, now = people_at([(0, 0)], [1]), people_at([(8, 2)], [1])
    now.joints[0, 1:, 2] = 0.1
    now.joints[0, 1:, :2] += 50
    np.testing.assert_allclose(velocities_of(now, queue_of(before)), [[8, 2]], rtol=1e-5)


def test_velocity_belongs_to_the_id_and_not_to_the_row() -> None:
    found = velocities_of(people_at([(305, 0), (1, 0)], [2, 1]), queue_of(people_at([(0, 0), (300, 0)], [1, 2])))
    np.testing.assert_allclose(found, [[5, 0], [1, 0]], rtol=1e-5)


def test_flow_boxes_are_those_of_confident_people_and_come_from_flow() -> None:
    people = people_at([(0, 0), (200, 0), (400, 0), (600, 0), (800, 0)], [1, 2, 3, 4, 6])
    people.joints[1, 2:, 2] = 0.1  # below the gate for propagation on average
    people.joints[2, 1:, 2] = 0.39  # one joint counts: it spans no box
    people.joints[4, 2:, 2] = 0.39  # two do
    queue = queue_of(people_at([(50, 0)], [5]), people)  # 5 is not in the newest frame
    queue.credit[4] = 0  # the detector has missed person 4 too often
    boxes = flow_boxes(queue, None, CONFIG)
    assert boxes.sources.tolist() == [BoxSource.FLOW] * 2
    assert boxes.track_ids.tolist() == [1, 6]
    assert boxes.xyxy[0, 0] < 12 < 68 < boxes.xyxy[0, 2]  # around the wrists of the first person
    moved = flow_boxes(queue, UniformFlow(7, 3), CONFIG)
    np.testing.assert_allclose(moved.xyxy, boxes.xyxy + [7, 3, 7, 3])


def test_a_flow_box_is_around_the_joints_that_count_and_has_the_score_of_its_last_box() -> None:
    people = people_at([(0, 0)], [1])
    people.boxes.scores[:] = 0.55
    people.joints[0, 9] = 5000.0, 5000.0, 0.1  # a wrist that nobody knows of
    boxes = flow_boxes(queue_of(people), None, CONFIG)
    assert boxes.xyxy.max() < 250
    assert boxes.scores.tolist() == pytest.approx([0.55])
