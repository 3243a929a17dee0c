"""The tracker does what Algorithm 1 says, on crowds in which everything goes wrong."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posewire_server.tracking import Boxes, BoxSource, FlowField, Similarity, Tracker, TrackerConfig
from tests.server.tracking.algorithm_1 import Algorithm1, Array, Box, iou
from tests.server.tracking.people import SIGMAS, STANDING

FRAMES = 12


class Drift:
    """A flow that is another one everywhere."""

    def __init__(self, base: npt.NDArray[np.float64], growth: float) -> None:
        self.base, self.growth = base.astype(np.float32), np.float32(growth)

    def at(self, points: Array) -> Array:
        return self.base + self.growth * points


class PoseNet:
    """Finds whoever fills most of a box, a little differently in each box; where nobody does, it doubts all joints."""

    def __init__(self, boxes: list[Box], joints: list[Array]) -> None:
        self.boxes, self.joints = boxes, joints

    def __call__(self, box: Box) -> Array:
        overlaps = [iou(box, other) for other in self.boxes]
        if not overlaps or max(overlaps) < 0.2:
            xy = STANDING + np.float32(box[:2])
            return np.concatenate([xy, np.full((len(xy), 1), 0.05)], axis=1, dtype=np.float32)
        pose = self.joints[int(np.argmax(overlaps))].copy()
        pose[:, :2] += 0.05 * (np.float32(box[:2]) - pose[0, :2])
        return pose


def crowd(seed: int) -> Iterator[tuple[list[tuple[Box, float]], FlowField | None, PoseNet]]:
    """Frames of people who walk through each other, are missed, boxed twice, and seen badly."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 6))
    places, speeds = rng.uniform(0, 300, (count, 2)), rng.normal(0, 8, (count, 2))
    visibility = rng.uniform(0.3, 1.0, count)
    for _ in range(FRAMES):
        places = places + speeds + rng.normal(0, 2, (count, 2))
        boxes = [(float(x), float(y), float(x + 80), float(y + 200)) for x, y in places.astype(np.float32)]
        detections = []
        for box, visible in zip(boxes, visibility, strict=True):
            for _ in range(int(rng.choice([0, 1, 1, 1, 2]))):
                moved = np.float32(box) + rng.normal(0, 8, 4).astype(np.float32)
                detections.append((tuple(moved.tolist()), float(np.float32(rng.uniform(0.4, 1)) * (visible > 0.1))))
        joints = [
            np.column_stack([STANDING + place, rng.uniform(0, 1, len(STANDING)) ** (1 / (3 * visible))])
            for place, visible in zip(places, visibility * rng.choice([0.1, 1, 1], count), strict=True)
        ]
        flow = Drift(speeds.mean(axis=0), rng.normal(0, 0.01)) if rng.random() < 0.9 else None
        yield detections, flow, PoseNet(boxes, [each.astype(np.float32) for each in joints])


@pytest.mark.parametrize("similarity", list(Similarity))
@settings(max_examples=40)
@given(
    seed=st.integers(0, 100_000),
    propagation=st.booleans(),
    queue_length=st.integers(1, 6),
    pose_nms_oks=st.sampled_from([0.3, 0.7, 1.0]),
    match_threshold=st.sampled_from([0.01, 0.1, 0.5]),
)
def test_the_tracker_gives_the_ids_and_boxes_of_algorithm_1(
    similarity: Similarity,
    seed: int,
    propagation: bool,
    queue_length: int,
    pose_nms_oks: float,
    match_threshold: float,
) -> None:
    config = TrackerConfig(
        similarity,
        propagation,
        queue_length,
        pose_nms_oks=pose_nms_oks,
        match_threshold=match_threshold,
        max_people=6,
    )
    algorithm, tracker = Algorithm1(config), Tracker(config, SIGMAS)
    for detections, flow, pose_net in crowd(seed):
        expected = sorted(algorithm.frame(detections, flow, pose_net))
        given_boxes = Boxes.of([box for box, _ in detections], [score for _, score in detections], BoxSource.DETECTOR)
        unified = tracker.unify(given_boxes, flow)
        poses = [pose_net(tuple(box)) for box in unified.xyxy.tolist()]
        people = tracker.update(unified, np.array(poses, np.float32).reshape(-1, len(SIGMAS), 3))
        order = people.ids.argsort()
        assert people.ids[order].tolist() == [id_ for id_, _ in expected]
        np.testing.assert_allclose(
            people.boxes.xyxy[order], np.array([box for _, box in expected]).reshape(-1, 4), atol=0.01
        )
