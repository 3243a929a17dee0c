"""Algorithm 1 written down once more: one person, one joint at a time, and nothing done to be fast.

What `Tracker` must give where the detector runs on every frame and no frame is missing. What the paper leaves open is
decided as in docs/design.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product

import numpy as np
import numpy.typing as npt

from posewire_server.tracking import FlowField, Similarity, TrackerConfig
from tests.server.tracking.people import SIGMAS

Array = npt.NDArray[np.float32]
Box = tuple[float, ...]


@dataclass
class Person:
    """A pose, and later an instance in Q."""

    box: Box
    box_score: float
    carries_on: int
    """The track of a flow box; 0 of a detector's."""
    joints: Array
    confident: list[int]
    """The joints that count."""
    id: int = 0
    frame: int = 0
    moved: Array | None = None
    """Where the joints of an instance are in the newest frame, by all flow fields since."""

    @property
    def score(self) -> float:
        return self.box_score * float(np.mean([self.joints[j, 2] for j in self.confident] or [0]))

    @property
    def mean_joint_score(self) -> float:
        return float(self.joints[:, 2].mean())

    @property
    def may_found(self) -> bool:
        return len(self.confident) >= 3


class Algorithm1:
    """One stream."""

    def __init__(self, config: TrackerConfig) -> None:
        self.config = config
        self.k = 0
        self.q: list[Person] = []
        self.identities = 0
        self.credit: dict[int, int] = {}
        self.velocity: dict[int, Array] = {}

    def frame(
        self, detections: Iterable[tuple[Box, float]], flow: FlowField | None, pose_net: Callable[[Box], Array]
    ) -> list[tuple[int, Box]]:
        """Ids and boxes of the people of one frame."""
        config, previous = self.config, [each for each in self.q if each.frame == self.k]
        # a. The detector's boxes; b. those of whom the flow carries on.
        boxes = [(box, score, 0) for box, score in detections if score >= config.box_score_threshold]
        for each in previous if config.propagation else []:
            sure = each.mean_joint_score >= config.propagation_threshold
            if sure and self.credit[each.id] > 0 and len(each.confident) >= 2:
                there = each.moved + (0 if flow is None else flow.at(each.moved))
                boxes.append((around(there[each.confident]), each.box_score, each.id))
        if flow is not None:
            in_sight = {each.id for each in previous}
            for each in self.q:  # who is out of sight coasts
                each.moved = each.moved + (flow.at(each.moved) if each.id in in_sight else self.velocity[each.id])
        # c. Box NMS: a detector's box wins over a flow box, then the score decides.
        boxes.sort(key=lambda box: (box[2] > 0, -box[1]))
        unified: list[tuple[Box, float, int]] = []
        for box in boxes:
            if all(iou(box[0], other[0]) <= config.box_nms_iou for other in unified):
                unified.append(box)
        # d. Poses. A flow box without a person is dropped, and so is the second pose on somebody.
        poses = [self._pose(*box, pose_net) for box in unified[: config.max_people]]
        poses = [p for p in poses if not p.carries_on or p.mean_joint_score >= config.propagation_threshold]
        poses.sort(key=lambda pose: (not pose.may_found, pose.carries_on > 0, -pose.score, pose.box))
        people: list[Person] = []
        for pose in poses:
            if all(oks(pose, other, other.joints) <= config.pose_nms_oks for other in people):
                people.append(pose)
        # e. and f. Detected people choose first, then flow boxes get their own track or nothing.
        taken: set[int] = set()
        self._match([pose for pose in people if not pose.carries_on], previous, taken)
        self._match([pose for pose in people if pose.carries_on], previous, taken)
        for pose in people:
            if not pose.id and not pose.carries_on and pose.may_found:
                self.identities += 1
                pose.id = self.identities
        people = [pose for pose in people if pose.id]
        # g. P^k joins Q.
        self._remember(people)
        return [(each.id, each.box) for each in people]

    def _pose(self, box: Box, score: float, carries_on: int, pose_net: Callable[[Box], Array]) -> Person:
        joints = pose_net(box)
        confident = [j for j in range(len(joints)) if joints[j, 2] >= self.config.joint_score_threshold]
        return Person(box, score, carries_on, joints, confident)

    def _match(self, poses: list[Person], previous: list[Person], taken: set[int]) -> None:
        """The highest similarity over all open pairs wins, both leave the pool, repeat."""
        pool = self.q if self.config.similarity is Similarity.MULTI_FLOW else previous
        pairs = [
            (self._similarity(pose, each), pose, each.id)
            for pose, each in product(poses, pool)
            if pose.carries_on in (0, each.id)
        ]
        for similarity, pose, track in sorted(pairs, key=lambda pair: -pair[0]):
            if similarity >= self.config.match_threshold and not pose.id and track not in taken:
                pose.id = track
                taken.add(track)

    def _similarity(self, pose: Person, tracked: Person) -> float:
        if self.config.similarity is Similarity.BBOX:
            return iou(pose.box, tracked.box)
        return oks(pose, tracked, tracked.joints if self.config.similarity is Similarity.POSE else tracked.moved)

    def _remember(self, people: list[Person]) -> None:
        self.k += 1
        length = self.config.queue_length
        seen = {each.id for each in people}
        for lost in {each.id for each in self.q} - seen:
            self.credit[lost] = max(self.credit[lost] - 1, 0)
        for each in people:
            known = self.credit.get(each.id, 0)
            self.credit[each.id] = known - 1 if each.carries_on else min(known + 2, length)
            self.velocity[each.id] = self._velocity(each)
            each.frame, each.moved = self.k, each.joints[:, :2]
        self.q = [each for each in self.q if each.frame > self.k - length] + people

    def _velocity(self, person: Person) -> Array:
        """Pixels a frame; half of it is the newest displacement."""
        before = [each for each in self.q if each.id == person.id]
        if not before:
            return np.zeros(2, np.float32)
        last, velocity = before[-1], self.velocity[person.id]
        common = [j for j in person.confident if j in last.confident]
        if not common:
            return velocity
        newest = (person.joints[common, :2] - last.joints[common, :2]).mean(axis=0) / (self.k - last.frame)
        return (velocity + newest) / 2 if velocity.any() else newest


def around(points: Array) -> Box:
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.15 / 2 * (high - low)
    return (*(low - margin).tolist(), *(high + margin).tolist())


def area(box: Box) -> float:
    return max(box[2] - box[0], 0) * max(box[3] - box[1], 0)


def iou(a: Box, b: Box) -> float:
    common = area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))
    return common / (area(a) + area(b) - common)


def oks(a: Person, b: Person, joints_of_b: Array) -> float:
    """The scale is the geometric mean of both boxes; joints count that are confident in both, or all if too few are."""
    squared_scale = max(0.53 * math.sqrt(area(a.box) * area(b.box)), 1)
    common = [j for j in a.confident if j in b.confident]
    if len(common) < 3:
        common = list(range(len(SIGMAS)))
    squared = [float(((a.joints[j, :2] - joints_of_b[j, :2]) ** 2).sum()) for j in common]
    return float(
        np.mean([np.exp(-d / (2 * squared_scale * (2 * SIGMAS[j]) ** 2)) for d, j in zip(squared, common, strict=True)])
    )
