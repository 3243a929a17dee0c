"""The queue Q: the instances of the last L_Q frames, carried along to the newest frame."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posewire_server.tracking.instances import Floats, Ints, TrackedPeople

__all__ = ["Queue"]


@dataclass(frozen=True)
class Queue:
    """Q as `m` instances P = (J, id), a row each, those of the oldest frame first. The rows of one id are a track.

    The instances of all frames lie in the same arrays, so that a step takes a few array operations however long Q is.

    Attributes:
        frame: number of the newest frame.
        frames: `(m,)` int64: number of the frame in which an instance was found.
        ids: `(m,)` int64.
        boxes: `(m, 4)` float32 x1, y1, x2, y2, and
        box_scores: `(m,)` float32: as found in its own frame.
        joints: `(m, k, 3)` float32 x, y, score: as found in its own frame.
        moved: `(m, k, 2)` float32: where the joints are in the newest frame, by all flow fields since.
        counts: `(m, k)` bool: which joints count.
        velocities: `(m, 2)` float32: pixels a frame, the person as a whole when last seen.
        unconfirmed: `(m,)` int64: how many runs of the detector in a row had missed the person.
        lost: `(m,)` bool: the person is not in the newest frame.
    """

    frame: int
    frames: Ints
    ids: Ints
    boxes: Floats
    box_scores: Floats
    joints: Floats
    moved: Floats
    counts: npt.NDArray[np.bool_]
    velocities: Floats
    unconfirmed: Ints
    lost: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, joints: int) -> Queue:
        """Before the first frame, of poses of `joints` joints."""
        return cls(
            frame=0,
            frames=np.zeros(0, np.int64),
            ids=np.zeros(0, np.int64),
            boxes=np.zeros((0, 4), np.float32),
            box_scores=np.zeros(0, np.float32),
            joints=np.zeros((0, joints, 3), np.float32),
            moved=np.zeros((0, joints, 2), np.float32),
            counts=np.zeros((0, joints), np.bool_),
            velocities=np.zeros((0, 2), np.float32),
            unconfirmed=np.zeros(0, np.int64),
            lost=np.zeros(0, np.bool_),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def newest(self) -> slice:
        """The rows of the newest frame."""
        return slice(int(self.frames.searchsorted(self.frame)), None)

    def seen_again(self, ids: Ints) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Who of the newest frame goes on: their rows, and where their ids are in `ids` `(n,)`."""
        start = self.newest.start
        rows, places = (self.ids[start:, None] == ids).nonzero()
        return rows + start, places

    def joined_by(
        self,
        people: TrackedPeople,
        counts: npt.NDArray[np.bool_],
        velocities: Floats,
        unconfirmed: Ints,
        queue_length: int,
    ) -> Queue:
        """The people of the next frame join as its instances; a frame that is `queue_length` frames old leaves.

        Args:
            people: `n`, with their ids.
            counts: `(n, k)` which of their joints count.
            velocities: `(n, 2)`; they hold for all instances of the same person from now on.
            unconfirmed: `(n,)`.
            queue_length: L_Q.
        """
        frame = self.frame + 1
        start = int(self.frames.searchsorted(frame - queue_length, side="right"))
        rows, places = (self.ids[start:, None] == people.ids).nonzero()
        former_velocities = self.velocities[start:].copy()
        former_velocities[rows] = velocities[places]
        lost = np.ones(len(former_velocities), np.bool_)
        lost[rows] = False
        n = len(people)
        return Queue(
            frame=frame,
            frames=np.concatenate((self.frames[start:], np.full(n, frame))),
            ids=np.concatenate((self.ids[start:], people.ids)),
            boxes=np.concatenate((self.boxes[start:], people.boxes.xyxy)),
            box_scores=np.concatenate((self.box_scores[start:], people.boxes.scores)),
            joints=np.concatenate((self.joints[start:], people.joints)),
            moved=np.concatenate((self.moved[start:], people.joints[..., :2])),
            counts=np.concatenate((self.counts[start:], counts)),
            velocities=np.concatenate((former_velocities, velocities)),
            unconfirmed=np.concatenate((self.unconfirmed[start:], unconfirmed)),
            lost=np.concatenate((lost, np.zeros(n, np.bool_))),
        )
