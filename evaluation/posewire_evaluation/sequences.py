"""Poses with ids, frame by frame: the form in which ground truth and predictions are scored."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posewire.array_types import Float64s
from posewire.joints import JointSet
from posewire_evaluation.errors import EvaluationError

__all__ = ["LARGEST", "NO_SCORE", "Bools", "Ints", "PoseFrame", "PoseSequence"]

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

LARGEST = 2.0**53
"""Up to here, floating-point numbers represent every integer. No pixel is farther away, and areas stay finite."""
NO_SCORE = -9999.0
"""Score of a predicted joint that has none in its file, as in poseval (`MIN_SCORE`)."""


@dataclass(frozen=True, eq=False)
class PoseFrame:
    """The `n` people of one frame, in pixels of that frame.

    In double precision, like the official tools: a joint exactly at a threshold falls on the same side.

    Attributes:
        number: of the frame, from the name of its picture.
        labelled: whether the frame is scored. In truth: whether it lists people, as in poseval. Ignored in predictions.
        ids: `(n,)` int64 track ids.
        joints: `(n, k, 3)` float64: x, y, and the score (predictions) or the visibility (truth).
        present: `(n, k)`: which joints are given; may include hidden joints of visibility 0.
        scores: `(n,)` of the people; 1 if not given.
        head_sizes: `(n,)` 0.6 times the diagonal of the head box; NaN if not given.
        boxes: `(n, 4)` x1, y1, x2, y2 of the people; NaN if not given.
        ignore_regions: polygons `(m, 2)` inside which nothing is scored.
    """

    number: int
    labelled: bool
    ids: Ints
    joints: Float64s
    present: Bools
    scores: Float64s
    head_sizes: Float64s
    boxes: Float64s
    ignore_regions: tuple[Float64s, ...] = ()

    @classmethod
    def of(
        cls,
        number: int,
        ids: npt.ArrayLike,
        joints: npt.ArrayLike,
        *,
        present: npt.ArrayLike | None = None,
        labelled: bool | None = None,
        scores: npt.ArrayLike | None = None,
        head_sizes: npt.ArrayLike | None = None,
        boxes: npt.ArrayLike | None = None,
        ignore_regions: Sequence[npt.ArrayLike] = (),
    ) -> PoseFrame:
        """A frame from array-like values; what is left out is unknown.

        Args:
            number: of the frame.
            ids: `(n,)`.
            joints: `(n, k, 3)`.
            present: `(n, k)`; if left out, joints with a score or visibility above 0.
            labelled: if left out, whether it has people.
            scores: `(n,)`.
            head_sizes: `(n,)`.
            boxes: `(n, 4)` x1, y1, x2, y2.
            ignore_regions: polygons.

        Raises:
            EvaluationError: an id is not a whole number, or the joints have another shape.
        """
        given = np.asarray(ids).reshape(-1)
        with np.errstate(invalid="ignore"):  # NaN
            as_ids = given.astype(np.int64)
        if (as_ids != given).any():
            raise EvaluationError(f"frame {number}: the id {given[as_ids != given][0]} is not a whole number")
        count = len(as_ids)
        as_joints = np.asarray(joints, np.float64)
        if as_joints.ndim != 3:
            raise EvaluationError(
                f"frame {number}: joints of shape {as_joints.shape}; (n, k, 3) is needed, also of nobody:"
                " np.zeros((0, k, 3))"
            )
        return cls(
            number=number,
            labelled=count > 0 if labelled is None else labelled,
            ids=as_ids,
            joints=as_joints,
            present=as_joints[..., 2] > 0 if present is None else np.asarray(present, np.bool_),
            scores=np.ones(count) if scores is None else np.asarray(scores, np.float64),
            head_sizes=np.full(count, np.nan) if head_sizes is None else np.asarray(head_sizes, np.float64),
            boxes=np.full((count, 4), np.nan) if boxes is None else np.asarray(boxes, np.float64).reshape(-1, 4),
            ignore_regions=tuple(np.asarray(region, np.float64).reshape(-1, 2) for region in ignore_regions),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def positions(self) -> Float64s:
        """`(n, k, 2)` x, y of the joints; 0 for joints that are not given, whose own values may be NaN or infinite."""
        return np.where(self.present[..., None], self.joints[..., :2], 0.0)

    def keep(self, people: npt.NDArray[np.bool_ | np.intp], present: Bools | None = None) -> PoseFrame:
        """The frame with some of its people, optionally with fewer joints given.

        Args:
            people: mask `(n,)` or indices.
            present: `(n, k)`, of all people, replaces the frame's own.
        """
        return PoseFrame(
            self.number,
            self.labelled,
            self.ids[people],
            self.joints[people],
            (self.present if present is None else present)[people],
            self.scores[people],
            self.head_sizes[people],
            self.boxes[people],
            self.ignore_regions,
        )

    def with_poses(self, present: Bools | None = None) -> PoseFrame:
        """The frame without people who have no joint, optionally with fewer joints given.

        Args:
            present: `(n, k)`, replaces the frame's own.
        """
        given = self.present if present is None else present
        return self.keep(np.asarray(given.any(axis=1), np.bool_), given)

    def fault(self, joint_set: JointSet) -> str | None:
        """What is wrong with this frame if its poses are of `joint_set`; None: nothing."""
        joints = len(joint_set)
        if self.joints.shape[1:] != (joints, 3):
            return f"poses of shape {self.joints.shape}, (n, {joints}, 3) expected: another joint set?"
        of_people = (self.ids, self.joints, self.present, self.scores, self.head_sizes, self.boxes)
        if len({len(part) for part in of_people}) > 1 or self.present.shape != self.joints.shape[:2]:
            return "ids, joints, scores, head sizes and boxes disagree about how many people there are"
        unique, counts = np.unique(self.ids, return_counts=True)
        if (counts > 1).any():
            return f"id {unique[counts > 1][0]} is given to {counts[counts > 1][0]} people; an id is one person's"
        faulty = self.present & ~(np.abs(self.joints) <= LARGEST).all(axis=2)
        if faulty.any():
            person, joint = np.argwhere(faulty)[0].tolist()
            return f"{joint_set.names[joint]} of the person with id {self.ids[person]} is NaN, infinite or beyond 2^53"
        if not np.isfinite(self.scores).all():
            return f"the score of the person with id {self.ids[~np.isfinite(self.scores)][0]} is NaN or infinite"
        # NaN means not given, but an infinite head size would make every joint right.
        boundless = (self.head_sizes > LARGEST) | (np.abs(self.boxes) > LARGEST).any(axis=1)
        if boundless.any():
            return f"the box or head of the person with id {self.ids[boundless][0]} is infinite or beyond 2^53"
        inverted = (self.boxes[:, 2:] < self.boxes[:, :2]).any(axis=1)
        if inverted.any():
            return f"the box of the person with id {self.ids[inverted][0]} has a width or height below 0"
        if not all((np.abs(region) <= LARGEST).all() for region in self.ignore_regions):
            return "a corner of an ignore region is NaN, infinite or beyond 2^53"
        return None


@dataclass(frozen=True, eq=False)
class PoseSequence:
    """The people in every frame of one video, in the order of the frames.

    Attributes:
        name: of the sequence, the same for its truth and predictions.
        joint_set: what the rows of a pose mean.
        frames: in order of their numbers.
        source: where it came from, for messages: a file, or else the name.
        pictures: the folder of its pictures, as given in the file: `images/val/000342_mpii_test`.

    Raises:
        EvaluationError: a frame has an id twice; a joint, score or corner of an ignore region that is NaN; an infinite
            box or head size; a box of negative size; poses with another number of joints; or a number that is not above
            that of the previous frame. The message names source and frame.
    """

    name: str
    joint_set: JointSet
    frames: tuple[PoseFrame, ...]
    source: str = ""
    pictures: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "frames", tuple(self.frames))
        object.__setattr__(self, "source", self.source or self.name)
        last = None
        for frame in self.frames:
            fault = frame.fault(self.joint_set)
            if last is not None and frame.number <= last:
                fault = f"it comes after frame {last}; each frame has its own number and they rise"
            if fault is not None:
                raise EvaluationError(f"{self.source}: frame {frame.number}: {fault}")
            last = frame.number

    def __len__(self) -> int:
        return len(self.frames)
