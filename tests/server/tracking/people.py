"""People made of numbers, for the tests of the tracker: where they stand is given, everything else follows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from posewire.joints import COCO17
from posewire_server.tracking import Boxes, BoxSource, TrackedPeople, Tracker, TrackerConfig
from posewire_server.tracking.queue import Queue

SIGMAS = np.asarray(COCO17.sigmas, dtype=np.float32)

# A person who stands upright, 80 x 200 pixels, seen from the front; COCO-17.
STANDING = np.array(
    [
        (40, 15), (44, 11), (36, 11), (50, 14), (30, 14), (60, 40), (20, 40), (66, 75), (14, 75), (68, 105), (12, 105),
        (54, 105), (26, 105), (54, 150), (26, 150), (54, 192), (26, 192),
    ],
    dtype=np.float32,
)  # fmt: skip


class UniformFlow:
    """Everything moves alike."""

    def __init__(self, dx: float, dy: float = 0.0) -> None:
        self.displacement = np.array([dx, dy], dtype=np.float32)

    def at(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.broadcast_to(self.displacement, points.shape).copy()


STILL = UniformFlow(0.0)


def joints_at(places: npt.ArrayLike, score: float = 0.9) -> npt.NDArray[np.float32]:
    """Joints `(n, 17, 3)` of people whose boxes start at `places` `(n, 2)`."""
    positions = np.asarray(places, dtype=np.float32).reshape(-1, 1, 2) + STANDING
    return np.concatenate([positions, np.full((*positions.shape[:2], 1), score, np.float32)], axis=2)


def boxes_at(places: npt.ArrayLike, score: float = 0.9, source: BoxSource = BoxSource.DETECTOR) -> Boxes:
    """Boxes of the same people."""
    corners = np.asarray(places, dtype=np.float32).reshape(-1, 2)
    return Boxes.of(np.concatenate([corners, corners + [80, 200]], axis=1), np.full(len(corners), score), source)


def people_at(places: npt.ArrayLike, ids: npt.ArrayLike = ()) -> TrackedPeople:
    """The same people as the tracker gives them back."""
    boxes = boxes_at(places)
    given = np.asarray(ids, dtype=np.int64)
    return TrackedPeople(
        given if given.size else np.zeros(len(boxes), np.int64), boxes.scores, boxes, joints_at(places)
    )


def queue_of(*frames: TrackedPeople, velocity: tuple[float, float] = (0, 0), length: int = 10) -> Queue:
    """Q after these frames, through which nobody was moved; all with the same velocity."""
    queue = Queue.empty(len(SIGMAS))
    for people in frames:
        n = len(people)
        confident = people.joints[..., 2] >= TrackerConfig().joint_score_threshold
        velocities = np.tile(np.float32(velocity), (n, 1))
        queue = queue.pushed(people, confident, velocities, np.ones(n, np.int64), length, 1.0, detector_ran=True)
    return queue


def tracker(**settings: object) -> Tracker:
    """A tracker of COCO-17 poses with some settings changed."""
    return Tracker(TrackerConfig(**settings), SIGMAS)  # type: ignore[arg-type]


def step(tracker: Tracker, places: npt.ArrayLike, flow: UniformFlow | None = STILL, score: float = 0.9) -> list[int]:
    """One frame in which the detector finds exactly the people at `places`; their ids, in the order of `places`.

    Boxes that joint propagation adds are answered as a pose network does where nobody stands: with low scores.
    """
    corners = np.asarray(places, dtype=np.float32).reshape(-1, 2)
    boxes = tracker.unify(boxes_at(corners), flow)
    detected = boxes.sources == BoxSource.DETECTOR
    joints = joints_at(boxes.xyxy[:, :2], score)
    joints[~detected, :, 2] = 0.01
    people = tracker.update(boxes, joints)
    found = {tuple(box[:2].tolist()): int(id_) for id_, box in zip(people.ids, people.boxes.xyxy, strict=True)}
    return [found[tuple(place.tolist())] for place in corners]
