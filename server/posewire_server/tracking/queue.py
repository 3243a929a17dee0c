"""The queue Q: the instances of the last L_Q frames, with their joints moved to the newest frame."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from posewire_server.tracking.instances import Floats, Ints, TrackedPeople

__all__ = ["Queue"]

# Beyond this many instances the oldest frames leave, however long Q is. Comparing poses with more of them would take
# longer than the networks do, at the cost of all other streams.
_MOST_INSTANCES = 5000
# Times are sums of fractional intervals: this keeps rounding errors from dropping a frame an interval early or late.
_HALF = 0.5


@dataclass(frozen=True)
class Queue:
    """Q as `m` instances P = (J, id), one row each, oldest frame first. The rows with the same id are a track.

    The instances of all frames share the same arrays, so that a step takes a few array operations however long Q is.

    Attributes:
        frame: number of the newest frame.
        time: of the newest frame, in frame intervals of the camera; equal to `frame` if no frame is missing.
        frames: `(m,)` int64: number of the frame in which the instance was found.
        times: `(m,)` float64: time of that frame.
        ids: `(m,)` int64.
        boxes: `(m, 4)` float32 x1, y1, x2, y2 in the instance's own frame.
        box_scores: `(m,)` float32.
        joints: `(m, k, 3)` float32 x, y, score in the instance's own frame.
        moved: `(m, k, 2)` float32: the joints moved to the newest frame by all flow fields since.
        confident: `(m, k)` bool: which joints have a score of at least `joint_score_threshold`.
        velocities: `(m, 2)` float32: pixels per interval, of the whole person when last seen.
        credit: `(m,)` int64: how many more consecutive detector runs may miss the person, see `propagation.credit`.
        lost: `(m,)` bool: the person is not in the newest frame.
    """

    frame: int
    time: float
    frames: Ints
    times: npt.NDArray[np.float64]
    ids: Ints
    boxes: Floats
    box_scores: Floats
    joints: Floats
    moved: Floats
    confident: npt.NDArray[np.bool_]
    velocities: Floats
    credit: Ints
    lost: npt.NDArray[np.bool_]

    @classmethod
    def empty(cls, joints: int) -> Queue:
        """Q before the first frame, for poses with `joints` joints."""
        return cls(
            frame=0,
            time=0.0,
            frames=np.zeros(0, np.int64),
            times=np.zeros(0, np.float64),
            ids=np.zeros(0, np.int64),
            boxes=np.zeros((0, 4), np.float32),
            box_scores=np.zeros(0, np.float32),
            joints=np.zeros((0, joints, 3), np.float32),
            moved=np.zeros((0, joints, 2), np.float32),
            confident=np.zeros((0, joints), np.bool_),
            velocities=np.zeros((0, 2), np.float32),
            credit=np.zeros(0, np.int64),
            lost=np.zeros(0, np.bool_),
        )

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def newest(self) -> slice:
        """The rows of the newest frame."""
        return slice(int(self.frames.searchsorted(self.frame)), None)

    def without_expired(self, elapsed: float, queue_length: int) -> Queue:
        """Q without instances that will be more than `queue_length` intervals old at the next frame.

        The newest frame always stays: a server that tracks few of the frames it gets must still recognise people.
        (After `LONGEST_GAP` everybody is forgotten: `Tracker.forget_after`.)

        Args:
            elapsed: intervals to the next frame.
            queue_length: L_Q.
        """
        oldest = self.time + elapsed - queue_length - _HALF
        return self._from(int(self.times.searchsorted(oldest)))

    def shortened(self, most: int) -> Queue:
        """Q without its oldest frames, so that at most `most` instances are left; the newest frame always stays.

        Frames leave as a whole: who of them stayed would depend on the order in which people were passed.
        """
        excess = len(self) - most
        if excess <= 0:
            return self
        return self._from(int(self.frames.searchsorted(self.frames[excess - 1], side="right")))

    def _from(self, start: int) -> Queue:
        """Q without the rows before `start`, but with all of the newest frame."""
        start = min(start, self.newest.start)
        if not start:
            return self
        rows = {
            field.name: getattr(self, field.name)[start:]
            for field in fields(self)
            if field.name not in ("frame", "time")
        }
        return replace(self, **rows)

    def resized(self, x: float, y: float) -> Queue:
        """Q after a change of frame size: `x` is new width / old width, `y` new height / old height."""
        scale = np.array([x, y], np.float32)
        joints = self.joints.copy()
        joints[..., :2] *= scale
        return replace(
            self,
            boxes=self.boxes * np.tile(scale, 2),
            joints=joints,
            moved=self.moved * scale,
            velocities=self.velocities * scale,
        )

    def without_instances(self) -> Queue:
        """Q without anybody in it; frame number and time continue."""
        return replace(Queue.empty(self.joints.shape[1]), frame=self.frame, time=self.time)

    def last_seen(self, ids: Ints) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """For those of `ids` `(n,)` that are in Q: the newest row of each, and the index of its id in `ids`."""
        newest = np.full(len(ids), -1, dtype=np.intp)
        rows, places = (self.ids[:, None] == ids).nonzero()
        newest[places] = rows  # later rows of the same id overwrite earlier ones
        (places,) = (newest >= 0).nonzero()
        return newest[places], places

    def pushed(
        self,
        people: TrackedPeople,
        confident: npt.NDArray[np.bool_],
        velocities: Floats,
        credit: Ints,
        queue_length: int,
        elapsed: float,
        *,
        detector_ran: bool,
    ) -> Queue:
        """Q with the people of the next frame, and without frames that are `queue_length` intervals old by then.

        Beyond 5,000 instances the oldest frames are dropped too.

        Args:
            people: `n`, with their ids.
            confident: `(n, k)` which of their joints are.
            velocities: `(n, 2)`; they also replace those of the person's earlier instances.
            credit: `(n,)`.
            queue_length: L_Q.
            elapsed: intervals since the newest frame.
            detector_ran: whether the detector ran on the next frame; if so, it has missed everybody not in `people`.
        """
        frame, time = self.frame + 1, self.time + elapsed
        start = int(self.times.searchsorted(time - queue_length + _HALF))
        rows, places = (self.ids[start:, None] == people.ids).nonzero()
        former_velocities = self.velocities[start:].copy()
        former_velocities[rows] = velocities[places]
        lost = np.ones(len(former_velocities), np.bool_)
        lost[rows] = False
        former_credit = np.where(lost, np.maximum(self.credit[start:] - int(detector_ran), 0), self.credit[start:])
        n = len(people)
        return Queue(
            frame=frame,
            time=time,
            frames=np.concatenate((self.frames[start:], np.full(n, frame))),
            times=np.concatenate((self.times[start:], np.full(n, time))),
            ids=np.concatenate((self.ids[start:], people.ids)),
            boxes=np.concatenate((self.boxes[start:], people.boxes.xyxy)),
            box_scores=np.concatenate((self.box_scores[start:], people.boxes.scores)),
            joints=np.concatenate((self.joints[start:], people.joints)),
            moved=np.concatenate((self.moved[start:], people.joints[..., :2])),
            confident=np.concatenate((self.confident[start:], confident)),
            velocities=np.concatenate((former_velocities, velocities)),
            credit=np.concatenate((former_credit, credit)),
            lost=np.concatenate((lost, np.zeros(n, np.bool_))),
        ).shortened(_MOST_INSTANCES)
