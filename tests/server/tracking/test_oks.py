from __future__ import annotations

import tracemalloc

import numpy as np
import pytest

from posewire_server.tracking.box_geometry import areas
from posewire_server.tracking.oks import Poses, oks
from tests.server.tracking.people import SIGMAS, boxes_at, joints_at

SEEN = np.ones((1, 17), dtype=np.bool_)


def pose(x: float, y: float = 0.0, confident: np.ndarray = SEEN) -> Poses:
    return Poses(joints_at([(x, y)])[..., :2], confident, areas(boxes_at([(x, y)]).xyxy))


@pytest.mark.parametrize("area", [16_000, 0])  # a flow box around joints on a line has none
def test_a_pose_is_fully_like_itself(area: float) -> None:
    one = pose(7)._replace(box_areas=np.float32([area]))
    assert oks(one, one, SIGMAS) == pytest.approx(1.0)


def test_it_equals_the_formula_of_the_coco_task() -> None:
    # cocoeval.computeOks: e = d^2 / (2 sigma)^2 / area / 2, mean of exp(-e); the area is 0.53 of the box.
    expected = np.exp(-(10.0**2) / (2 * SIGMAS) ** 2 / (0.53 * 80 * 200) / 2).mean()
    assert oks(pose(0), pose(10), SIGMAS) == pytest.approx(expected, rel=1e-5)


def test_its_scale_is_the_geometric_mean_of_both_boxes() -> None:
    small, large = pose(0)._replace(box_areas=np.float32([8_000])), pose(10)._replace(box_areas=np.float32([32_000]))
    expected = np.exp(-(10.0**2) / (2 * SIGMAS) ** 2 / (0.53 * 16_000) / 2).mean()
    assert oks(small, large, SIGMAS) == pytest.approx(expected, rel=1e-5)


def test_it_equals_pycocotools() -> None:
    coco_eval = pytest.importorskip("pycocotools.cocoeval", reason="needs pycocotools, of the extra `test`")
    rng = np.random.default_rng(1)
    found, truth = (
        joints_at(rng.uniform(0, 60, (4, 2))) + rng.normal(0, 4, (4, 17, 3)).astype(np.float32) for _ in "ab"
    )
    box_areas = np.full(4, 16_000.0, dtype=np.float32)
    evaluator = coco_eval.COCOeval(iouType="keypoints")
    evaluator._gts[1, 1] = [
        {"id": i, "keypoints": _flat(p), "area": 0.53 * 16_000, "bbox": [0, 0, 80, 200]} for i, p in enumerate(truth)
    ]
    evaluator._dts[1, 1] = [{"keypoints": _flat(p), "score": 1 - i / 10, "id": i} for i, p in enumerate(found)]
    evaluator.params.imgIds, evaluator.params.catIds = [1], [1]
    seen = np.ones((4, 17), dtype=np.bool_)
    ours = oks(Poses(found[..., :2], seen, box_areas), Poses(truth[..., :2], seen, box_areas), SIGMAS)
    np.testing.assert_allclose(ours, evaluator.computeOks(1, 1), rtol=1e-4)


def _flat(joints: np.ndarray) -> list[float]:
    return [float(v) for x, y, _ in joints for v in (x, y, 2.0)]


def test_joints_that_do_not_count_in_both_are_left_out() -> None:
    wrong_arm = pose(0)
    wrong_arm.positions[0, 9] += 500.0
    without_wrist = SEEN.copy()
    without_wrist[0, 9] = False
    assert oks(wrong_arm, pose(0), SIGMAS) == pytest.approx(16 / 17, rel=1e-5)
    assert oks(wrong_arm, pose(0, confident=without_wrist), SIGMAS) == pytest.approx(1.0)


@pytest.mark.parametrize(("common", "whole_pose_counts"), [(0, True), (2, True), (3, False), (4, False)])
def test_fewer_than_three_common_joints_fall_back_to_all(common: int, whole_pose_counts: bool) -> None:
    first = np.arange(17)[None] < common
    shifted = pose(30, confident=first)
    shifted.positions[first] -= (30.0, 0.0)  # the common joints coincide, nothing else does
    whole = oks(shifted._replace(confident=SEEN), pose(0), SIGMAS)
    assert whole < 0.5
    assert oks(shifted, pose(0), SIGMAS) == pytest.approx(whole if whole_pose_counts else 1.0)


def test_it_is_symmetric_and_pairs_do_not_disturb_each_other() -> None:
    rng = np.random.default_rng(2)
    places = rng.uniform(0, 100, (6, 2))
    many = Poses(joints_at(places)[..., :2], np.ones((6, 17), np.bool_), rng.uniform(5e3, 3e4, 6).astype(np.float32))
    matrix = oks(many, many, SIGMAS)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-6)
    for i in range(6):
        one = Poses(*(field[i : i + 1] for field in many))
        np.testing.assert_array_equal(oks(one, many, SIGMAS)[0], matrix[i])


def test_a_large_crowd_is_compared_in_parts_without_another_result() -> None:
    rng = np.random.default_rng(3)
    n = 400  # 11 MB in each array of all pairs of joints
    crowd = Poses(
        joints_at(rng.uniform(0, 999, (n, 2)))[..., :2], rng.random((n, 17)) < 0.8, np.full(n, 16_000, np.float32)
    )
    tracemalloc.start()
    try:
        matrix = oks(crowd, crowd, SIGMAS)
        assert tracemalloc.get_traced_memory()[1] < 15e6
    finally:
        tracemalloc.stop()
    for i in range(0, n, 7):
        np.testing.assert_array_equal(oks(crowd.take(np.array([i])), crowd, SIGMAS)[0], matrix[i])
