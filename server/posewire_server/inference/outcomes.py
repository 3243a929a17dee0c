"""The pipeline's results for a frame."""

from __future__ import annotations

from dataclasses import dataclass, field

from posewire.array_types import Float32s
from posewire_server.tracking import Boxes, TrackedPeople

__all__ = ["Estimated", "StageTimes", "Tracked"]


@dataclass
class StageTimes:
    """Milliseconds that each stage ran for one frame, without waiting times. 0: it did not run.

    The deferred work of the tracker (`Tracker.catch_up`) is not included in `track_ms`.

    Attributes:
        spans: for each step, its name, when it began (seconds, on the clock of `time.perf_counter`), and how long it
            ran (ms).
    """

    detect_ms: float = 0.0
    flow_ms: float = 0.0
    pose_ms: float = 0.0
    track_ms: float = 0.0
    spans: list[tuple[str, float, float]] = field(default_factory=list)

    @property
    def look_ms(self) -> float:
        """Time that detector and flow took together: they begin at the same time."""
        return max(self.detect_ms, self.flow_ms)


@dataclass(frozen=True, eq=False)
class Tracked:
    """The people of one frame of a stream.

    Attributes:
        people: with ids; joints are those of the pose network.
        times: per stage.
        detector_ran: whether the detector ran on this frame.
        detect_every: the value in force.
        elapsed: time since the previous frame, in frame intervals of the camera.
    """

    people: TrackedPeople
    times: StageTimes
    detector_ran: bool
    detect_every: int
    elapsed: float = 1.0


@dataclass(frozen=True, eq=False)
class Estimated:
    """The people of a single picture.

    Attributes:
        boxes: in which the poses were estimated: the given ones in their order, or the detector's by decreasing score.
        joints: `(n, k, 3)`.
        times: per stage.
    """

    boxes: Boxes
    joints: Float32s
    times: StageTimes

    def as_people(self, joint_score_threshold: float) -> TrackedPeople:
        """The same, scored like the people of a stream; all ids are 0."""
        return TrackedPeople.without_ids(self.boxes, self.joints, joint_score_threshold)
