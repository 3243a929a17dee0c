"""The tracker's inputs and outputs: boxes, and people with ids, as dataclasses of arrays.

All coordinates are pixels of the original frame: x right, y down, pixel centres at integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

import numpy as np
import numpy.typing as npt

__all__ = ["BoxSource", "Boxes", "Floats", "Ints", "TrackedPeople"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


class BoxSource(IntEnum):
    """Where a box came from."""

    DETECTOR = 1
    FLOW = 2
    CALLER = 3


@dataclass(frozen=True)
class Boxes:
    """`n` person boxes.

    Attributes:
        xyxy: `(n, 4)` float32: x1, y1, x2, y2.
        scores: `(n,)` float32 in 0..1.
        sources: `(n,)` int8, values of `BoxSource`.
        track_ids: `(n,)` int64: the track that a flow box continues; 0 for boxes from other sources.
    """

    xyxy: Floats
    scores: Floats
    sources: npt.NDArray[np.int8]
    track_ids: Ints

    @classmethod
    def of(
        cls, xyxy: npt.ArrayLike, scores: npt.ArrayLike, source: BoxSource, track_ids: npt.ArrayLike | None = None
    ) -> Boxes:
        """Boxes that all have the same source."""
        corners = np.asarray(xyxy, dtype=np.float32).reshape(-1, 4)
        return cls(
            corners,
            np.asarray(scores, dtype=np.float32).reshape(-1),
            np.full(len(corners), source, dtype=np.int8),
            np.zeros(len(corners), np.int64)
            if track_ids is None
            else np.asarray(track_ids, dtype=np.int64).reshape(-1),
        )

    @classmethod
    def empty(cls) -> Boxes:
        """No boxes."""
        return cls.of([], [], BoxSource.DETECTOR)

    def __len__(self) -> int:
        return len(self.xyxy)

    def __getitem__(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> Boxes:
        """The boxes that a mask `(n,)` or an array of indices selects."""
        return Boxes(self.xyxy[keep], self.scores[keep], self.sources[keep], self.track_ids[keep])

    def __add__(self, other: Boxes) -> Boxes:
        """These boxes, then the others."""
        return Boxes(
            np.concatenate([self.xyxy, other.xyxy]),
            np.concatenate([self.scores, other.scores]),
            np.concatenate([self.sources, other.sources]),
            np.concatenate([self.track_ids, other.track_ids]),
        )


@dataclass(frozen=True)
class TrackedPeople:
    """The people of one frame.

    Attributes:
        ids: `(n,)` int64 track ids, all different, starting at 1.
        scores: `(n,)` float32: box score times the mean score of the confident joints.
        boxes: the boxes in which the poses were estimated.
        joints: `(n, k, 3)` float32: x, y, score.
    """

    ids: Ints
    scores: Floats
    boxes: Boxes
    joints: Floats

    def __len__(self) -> int:
        return len(self.ids)

    @classmethod
    def without_ids(cls, boxes: Boxes, joints: Floats, joint_score_threshold: float) -> TrackedPeople:
        """Scored poses that have no ids yet: every id is 0.

        Args:
            boxes: `n` boxes.
            joints: `(n, k, 3)`, one pose per box.
            joint_score_threshold: joints with at least this score are confident.
        """
        scores = joints[..., 2]
        confident = scores >= joint_score_threshold
        means = (scores * confident).sum(axis=1) / np.maximum(confident.sum(axis=1), 1)
        return cls(np.zeros(len(boxes), dtype=np.int64), (boxes.scores * means).astype(np.float32), boxes, joints)

    def __getitem__(self, keep: npt.NDArray[np.bool_] | npt.NDArray[np.intp]) -> TrackedPeople:
        """The people that a mask `(n,)` or an array of indices selects."""
        return TrackedPeople(self.ids[keep], self.scores[keep], self.boxes[keep], self.joints[keep])
