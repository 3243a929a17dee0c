"""Runs the tracker on recorded outputs of the networks, without pixels or networks."""

from __future__ import annotations

from typing import Protocol

from posewire.array_types import Float32s
from posewire.joints import JointSet
from posewire_server.tracking import Boxes, FlowField, TrackedPeople, Tracker, TrackerConfig

__all__ = ["StageOutputs", "replay"]


class StageOutputs(Protocol):
    """Outputs of the three stages for one video. Frames are counted from 0."""

    @property
    def joint_set(self) -> JointSet:
        """What the joints of a pose mean."""
        ...

    def __len__(self) -> int:
        """Number of frames."""
        ...

    def detections(self, frame: int) -> Boxes:
        """B_det of a frame."""
        ...

    def flow(self, frame: int) -> FlowField:
        """The flow from frame - 1 to `frame`, which is at least 1."""
        ...

    def elapsed(self, frame: int) -> float:
        """Time since the previous frame, in frame intervals of the camera: 1 unless frames are missing."""
        ...

    def poses(self, frame: int, xyxy: Float32s) -> Float32s:
        """Joints `(n, k, 3)` in any boxes `(n, 4)`, since flow boxes depend on the tracker itself."""
        ...


def replay(outputs: StageOutputs, config: TrackerConfig) -> list[TrackedPeople]:
    """The tracked people of each frame. Calls the tracker as `posewire_server.inference.pipeline` does."""
    tracker = Tracker(config, outputs.joint_set.sigmas)
    tracked = []
    for frame in range(len(outputs)):
        elapsed = outputs.elapsed(frame)
        tracker.forget_after(elapsed)
        detections = outputs.detections(frame) if tracker.detector_due else None
        flow = outputs.flow(frame) if config.needs_flow and frame > 0 else None
        boxes = tracker.unify(detections, flow, elapsed)
        tracked.append(tracker.update(boxes, outputs.poses(frame, boxes.xyxy)))
    return tracked
