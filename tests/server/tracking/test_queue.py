from __future__ import annotations

import numpy as np
import pytest

from tests.server.tracking.people import people_at, queue_of


def test_the_oldest_frame_leaves_even_if_later_ones_were_empty() -> None:
    frames = [people_at([(0, 0)], [1]), people_at([], []), people_at([(10, 0)], [2])]
    assert queue_of(*frames, length=3).ids.tolist() == [1, 2]
    assert queue_of(*frames, people_at([], []), length=3).ids.tolist() == [2]
    assert queue_of(*frames, *[people_at([], [])] * 3, length=3).ids.tolist() == []


def test_who_is_not_in_the_newest_frame_is_lost() -> None:
    queue = queue_of(people_at([(0, 0), (100, 0)], [1, 2]), people_at([(0, 0)], [1]))
    assert list(zip(queue.ids.tolist(), queue.lost.tolist(), strict=True)) == [(1, False), (2, True), (1, False)]
    assert queue.ids[queue.newest].tolist() == [1]
    assert queue_of(people_at([(0, 0)], [1]), people_at([], [])).lost.tolist() == [True]


def test_a_velocity_holds_for_all_instances_of_a_person() -> None:
    before = queue_of(people_at([(0, 0), (100, 0)], [1, 2]), velocity=(5, 0))
    people = people_at([(0, 0)], [1])
    velocities, credit = np.float32([[7, 1]]), np.zeros(1, np.int64)
    after = before.pushed(people, people.joints[..., 2] > 0, velocities, credit, 10, 1.0, detector_ran=True)
    assert after.velocities.tolist() == [[7, 1], [5, 0], [7, 1]]
    assert before.velocities.tolist() == [[5, 0], [5, 0]]  # a snapshot may hold it


def test_however_long_it_may_be_it_holds_so_many_instances_at_most_in_whole_frames() -> None:
    people = [(100.0 * n, 0.0) for n in range(90)]
    queue = queue_of(*[people_at(people, range(1, 91))] * 60, length=1000)
    assert len(queue) == 4950  # 50 of the frame before would fit
    assert queue.frames[0] == 6
    for most, frames in ((4950, 55), (181, 2), (180, 2), (179, 1), (1, 1)):  # the newest stays
        assert queue.shortened(most).frames.tolist() == queue.frames[-90 * frames :].tolist()


def test_it_is_told_in_the_pixels_of_frames_of_another_size() -> None:
    before = queue_of(people_at([(30, 60)], [1]), velocity=(5, 8))
    queue = before.resized(2.0, 0.5)
    assert queue.boxes.tolist() == [[60, 30, 220, 130]]
    assert queue.joints[0, 0].tolist() == pytest.approx([140, 37.5, 0.9])
    np.testing.assert_array_equal(queue.moved, queue.joints[..., :2])
    assert queue.velocities.tolist() == [[10, 4]]
    assert before.joints[0, 0].tolist() == pytest.approx([70, 75, 0.9])  # a snapshot may hold it


def test_ids_are_found_again_wherever_they_stand() -> None:
    queue = queue_of(people_at([(0, 0)], [9]), people_at([(0, 0), (1, 0), (2, 0)], [4, 7, 5]))
    rows, places = queue.last_seen(np.array([5, 8, 4]))
    assert sorted(zip(rows.tolist(), places.tolist(), strict=True)) == [(1, 2), (3, 0)]


def test_the_newest_instance_of_somebody_counts_also_when_lost() -> None:
    queue = queue_of(*[people_at([(0, 0), (9, 0)], [1, 2])] * 2, people_at([(0, 0)], [1]))
    rows, places = queue.last_seen(np.array([2, 1, 3]))
    assert sorted(zip(rows.tolist(), places.tolist(), strict=True)) == [(3, 0), (4, 1)]
    assert queue_of().last_seen(np.array([1]))[0].tolist() == []


def test_what_was_found_is_kept_as_found() -> None:
    people = people_at([(3, 4)], [1])
    queue = queue_of(people)
    np.testing.assert_array_equal(queue.boxes, people.boxes.xyxy)
    np.testing.assert_array_equal(queue.joints, people.joints)
    np.testing.assert_array_equal(queue.moved, people.joints[..., :2])
