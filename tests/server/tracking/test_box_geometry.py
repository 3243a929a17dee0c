from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_server.tracking import Boxes, BoxSource
from posewire_server.tracking.box_geometry import areas, around_joints, box_nms, iou
from tests.server.tracking.people import boxes_at


def test_iou_of_hand_worked_pairs() -> None:
    a = np.array([[0, 0, 10, 10]], dtype=np.float32)
    b = np.array(
        [
            [0, 0, 10, 10],  # the same
            [5, 0, 15, 10],  # half of each: 50 / 150
            [10, 0, 20, 10],  # they touch
            [2, 2, 4, 4],  # inside: 4 / 100
            [7, 7, 7, 7],  # a point
        ],
        dtype=np.float32,
    )
    np.testing.assert_allclose(iou(a, b), [[1.0, 1 / 3, 0.0, 0.04, 0.0]], rtol=1e-6)


def test_two_empty_boxes_overlap_nothing() -> None:
    point = np.array([[3, 3, 3, 3]], dtype=np.float32)
    assert iou(point, point) == 0.0


def test_inside_out_boxes_have_no_area() -> None:
    np.testing.assert_array_equal(areas(np.array([[5, 5, 1, 1], [0, 0, 2, 3]], dtype=np.float32)), [0.0, 6.0])


def test_box_around_joints_takes_those_that_count_and_adds_15_percent() -> None:
    joints = np.array([[[10, 20], [110, 220], [5000, 5000]]], dtype=np.float32)
    confident = np.array([[True, True, False]])
    # 100 x 200 pixels: 7.5 and 15 more on each side
    np.testing.assert_allclose(around_joints(joints, confident), [[2.5, 5.0, 117.5, 235.0]], rtol=1e-6)


def test_a_detector_box_wins_over_a_better_flow_box_on_the_same_person() -> None:
    both = boxes_at([(0, 0)], score=0.6) + boxes_at([(3, 0)], score=0.99, source=BoxSource.FLOW)
    kept = box_nms(both, iou_threshold=0.5, keep_at_most=10)
    np.testing.assert_array_equal(kept.sources, [BoxSource.DETECTOR])


def test_a_flow_box_fills_the_gap_that_the_detector_left() -> None:
    both = boxes_at([(0, 0)]) + boxes_at([(200, 0)], source=BoxSource.FLOW)
    assert len(box_nms(both, iou_threshold=0.5, keep_at_most=10)) == 2


def test_boxes_of_the_caller_all_stay_and_win_over_all_others() -> None:
    given = boxes_at([(0, 0), (3, 0)], score=0.5, source=BoxSource.CALLER)
    others = boxes_at([(1, 0)], score=0.9) + boxes_at([(2, 0)], score=0.9, source=BoxSource.FLOW)
    np.testing.assert_array_equal(box_nms(others + given, 0.5, 10).sources, [BoxSource.CALLER] * 2)


def test_the_best_boxes_stay_when_there_are_too_many() -> None:
    crowd = Boxes.of([[200 * i, 0, 200 * i + 80, 200] for i in range(5)], [0.5, 0.9, 0.6, 0.8, 0.7], BoxSource.DETECTOR)
    np.testing.assert_allclose(box_nms(crowd, 0.5, keep_at_most=2).scores, [0.9, 0.8])


def test_so_many_are_left_after_suppression_not_before_it() -> None:
    doubled = boxes_at([(0, 0)], 0.9) + boxes_at([(3, 0)], 0.8) + boxes_at([(300, 0)], 0.7)
    assert box_nms(doubled, 0.5, keep_at_most=2).xyxy[:, 0].tolist() == [0.0, 300.0]


def test_no_boxes_are_no_problem() -> None:
    assert len(box_nms(Boxes.empty(), 0.5, 10)) == 0


places = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 200), st.integers(1, 4)), min_size=1, max_size=12)


@given(places=places, seed=st.integers(0, 2**32 - 1))
def test_suppression_leaves_no_overlap_loses_no_area_and_ignores_the_order(
    places: list[tuple[int, int, int]], seed: int
) -> None:
    boxes = Boxes(
        np.array([(x, y, x + 80, y + 200) for x, y, _ in places], dtype=np.float32),
        np.array([score / 4 for *_, score in places], dtype=np.float32),  # few values: ties are frequent
        np.random.default_rng(seed).integers(1, 3, len(places)).astype(np.int8),
        np.arange(len(places)),
    )
    kept = box_nms(boxes, 0.5, keep_at_most=100)

    among = iou(kept.xyxy, kept.xyxy) - np.eye(len(kept), dtype=np.float32)
    assert (among <= 0.5).all()
    dropped_by = iou(boxes.xyxy, kept.xyxy).max(axis=1)
    assert (dropped_by > 0.5).all()  # every box is kept or overlaps one that is

    shuffled = box_nms(boxes[np.random.default_rng(seed).permutation(len(boxes))], 0.5, keep_at_most=100)
    np.testing.assert_array_equal(shuffled.track_ids, kept.track_ids)


def test_score_and_box_belong_together_after_suppression() -> None:
    boxes = boxes_at([(0, 0)], 0.6) + boxes_at([(300, 0)], 0.9)
    kept = box_nms(boxes, 0.5, 10)
    assert dict(zip(kept.xyxy[:, 0].tolist(), kept.scores.tolist(), strict=True)) == pytest.approx(
        {0.0: 0.6, 300.0: 0.9}
    )
