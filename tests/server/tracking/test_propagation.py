from __future__ import annotations

from dataclasses import replace

import numpy as np

from posewire_server.tracking import BoxSource, Instances, TrackerConfig
from posewire_server.tracking.propagation import flow_boxes, move, velocities
from tests.server.tracking.people import UniformFlow, people_at

CONFIG = TrackerConfig(queue_length=4)


def instances(places: list[tuple[float, float]], ids: list[int], velocity: tuple[float, float] = (0, 0)) -> Instances:
    people = people_at(places, ids)
    speed = np.tile(np.float32(velocity), (len(people), 1))
    return Instances(people, people.joints[..., :2], speed, np.zeros(len(people), np.int64))


def test_the_whole_queue_follows_the_newest_flow() -> None:
    queue = [instances([(0, 0)], [1]), instances([(10, 0)], [1])]
    moved = move(queue, UniformFlow(7, 3))
    for before, after in zip(queue, moved, strict=True):
        np.testing.assert_allclose(after.moved, before.moved + [7, 3])
        assert after.people is before.people  # what was found in a frame stays as it was found


def test_a_lost_person_coasts_and_is_not_carried_off_by_whoever_hides_it() -> None:
    queue = [instances([(0, 0), (300, 0)], [1, 2], velocity=(4, 1)), instances([(20, 0)], [2])]
    moved = move(queue, UniformFlow(-30))
    np.testing.assert_allclose(moved[0].moved[0], queue[0].moved[0] + [4, 1])  # lost: its own velocity
    np.testing.assert_allclose(moved[0].moved[1], queue[0].moved[1] - [30, 0])  # in view: the flow
    np.testing.assert_allclose(moved[1].moved[0], queue[1].moved[0] - [30, 0])


def test_an_empty_queue_and_empty_frames_move_nowhere() -> None:
    assert move([], UniformFlow(1)) == []
    (moved,) = move([instances([], [])], UniformFlow(1))
    assert moved.moved.shape == (0, 17, 2)


def test_velocity_is_the_displacement_and_then_its_smoothed_course() -> None:
    first = velocities(people_at([(0, 0)], [1]), None, CONFIG)
    np.testing.assert_array_equal(first, [[0, 0]])
    second = velocities(people_at([(8, 2)], [1]), instances([(0, 0)], [1]), CONFIG)
    np.testing.assert_allclose(second, [[8, 2]], rtol=1e-5)
    third = velocities(people_at([(20, 2)], [1]), replace(instances([(8, 2)], [1]), velocities=second), CONFIG)
    np.testing.assert_allclose(third, [[10, 1]], rtol=1e-5)


def test_velocity_belongs_to_the_id_and_not_to_the_row() -> None:
    found = velocities(people_at([(305, 0), (1, 0)], [2, 1]), instances([(0, 0), (300, 0)], [1, 2]), CONFIG)
    np.testing.assert_allclose(found, [[5, 0], [1, 0]], rtol=1e-5)


def test_flow_boxes_are_those_of_confident_people_and_come_from_flow() -> None:
    newest = instances([(0, 0), (200, 0), (400, 0), (600, 0)], [1, 2, 3, 4])
    newest.people.joints[1, :, 2] = 0.1  # below the gate for propagation
    newest.people.joints[2, 1:, 2] = 0.39  # one joint counts: it spans no box
    newest.unconfirmed[3] = CONFIG.queue_length  # the detector has missed it too often
    boxes = flow_boxes(newest, CONFIG)
    assert boxes.sources.tolist() == [BoxSource.FLOW]
    assert boxes.xyxy[0, 0] < 12 < 68 < boxes.xyxy[0, 2]  # around the wrists of the first person
