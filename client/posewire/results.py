"""Results, as plain dataclasses of numpy arrays.

Coordinates are pixels of the frame as it was sent: x right, y down, the centre of the top-left pixel at (0, 0).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from posewire.array_types import Float32s, Image
from posewire.connection import Reconnected
from posewire.errors import FrameDropped, FrameFailed
from posewire.joints import JointSet
from posewire.settings import StreamSettings, TrackerSettings

__all__ = [
    "BoxSource",
    "BoxesLike",
    "FloatArray",
    "FrameResult",
    "FrameStatus",
    "Image",
    "ModelNames",
    "Person",
    "PoseEstimate",
    "ServerInfo",
    "ServerLimits",
    "StreamInfo",
    "StreamSummary",
]

FloatArray: TypeAlias = Float32s
"""The arrays in results, and of boxes that were checked."""

BoxesLike: TypeAlias = npt.ArrayLike | Sequence[Sequence[float]]
"""Boxes that a caller gives: `(n, 4)` left, top, right, bottom in pixels, or `(n, 5)` with a score in 0..1."""

BoxSource: TypeAlias = Literal["detector", "flow", "caller", "unknown"]
"""The origin of the box in which a pose was estimated.

`flow` is joint propagation, `unknown` is a value that this version does not know.
"""


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """One person in one frame.

    Attributes:
        id: the track id, unique within the stream, from 1; 0 for single pictures, where there is no tracking.
        score: confidence, 0..1.
        box: `(4,)` float32 x, y, width, height in pixels, of the box in which the pose was estimated. (`boxes=`
            arguments are corners; `box_xyxy` is the same box in that form.)
        joints: `(k, 3)` float32 x, y (pixels) and score (0..1), in the order of `StreamInfo.joint_set.names`.
        source: where the box came from.
    """

    id: int
    score: float
    box: FloatArray
    joints: FloatArray
    source: BoxSource

    @property
    def box_xyxy(self) -> FloatArray:
        """The box as `(4,)` left, top, right, bottom: the form in which boxes are given to the client."""
        x, y, width, height = self.box
        return np.array([x, y, x + width, y + height], dtype=np.float32)


class FrameStatus(StrEnum):
    """What became of a frame."""

    TRACKED = "tracked"
    FAILED = "failed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """What became of one frame. Every frame of the source has exactly one result, and results come in frame order.

    For a frame that failed or was dropped, `people` is empty, which does not mean that nobody was there: check
    `tracked`, or call `raise_for_status()`.

        for result in client.track("video.mp4"):
            if result.tracked:
                print(result.frame, len(result.people), "people")
            else:
                print(result.frame, result.status, result.reason, result.message)

    Attributes:
        frame: number of the frame.
        time_s: when it was taken: seconds since the start of a file, Unix time for live sources.
        status: tracked, failed or dropped.
        people: the people of the frame; empty unless tracked.
        size: width and height of the frame as the server decoded it; None unless tracked.
        timings_ms: milliseconds spent in each of the server's stages: queue, decode, detect, flow, pose, track, total.
        latency_ms: from when the client took the frame from its source until its answer arrived; NaN if it was never
            sent.
        detector_ran: whether the detector ran on this frame.
        detect_every: the value in force: the detector runs on every n-th frame.
        reason: why the frame was not tracked, for programs (`undecodable`, `superseded`, ...); empty if tracked.
        message: the same for people.
        name: the source's name for the frame, such as a picture's file name; often empty.
        image: the frame itself, if the stream was opened with `keep_images=True`; None if it could not be read, was
            superseded before it could be sent, or was given to `send` as bytes.
        reconnected: set on the first frame that was tracked after a lost connection; says on which server the stream
            continues, and whether with the same ids.
    """

    frame: int
    time_s: float
    status: FrameStatus = FrameStatus.TRACKED
    people: tuple[Person, ...] = ()
    size: tuple[int, int] | None = None
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    latency_ms: float = float("nan")
    detector_ran: bool = False
    detect_every: int = 1
    reason: str = ""
    message: str = ""
    name: str = ""
    image: Image | None = None
    reconnected: Reconnected | None = None

    @property
    def tracked(self) -> bool:
        """Whether the frame was processed, so that `people` is meaningful."""
        return self.status is FrameStatus.TRACKED

    @property
    def dropped(self) -> bool:
        """Whether the frame was dropped although nothing was wrong with it."""
        return self.status is FrameStatus.DROPPED

    @property
    def failed(self) -> bool:
        """Whether the frame could not be processed."""
        return self.status is FrameStatus.FAILED

    def raise_for_status(self) -> FrameResult:
        """Return this result if it was tracked.

        Raises:
            FrameFailed: it could not be processed.
            FrameDropped: it was dropped.
        """
        if self.failed:
            raise FrameFailed(f"frame {self.frame} failed ({self.reason}): {self.message}")
        if self.dropped:
            raise FrameDropped(f"frame {self.frame} was dropped ({self.reason}): {self.message}")
        return self


@dataclass(frozen=True)
class ModelNames:
    """Names of the networks that serve a stream; empty if there is none.

    Attributes:
        bundle: the bundle of networks; `detector` and `flow` may have been replaced by the server's flags.
        detector: of people.
        flow: optical flow.
        pose: joints.
        bundle_version: raised with every change of the bundle's weights.
        flip_test: whether heatmaps are averaged with those of mirrored crops.
    """

    bundle: str = ""
    detector: str = ""
    flow: str = ""
    pose: str = ""
    bundle_version: int = 0
    flip_test: bool = False


@dataclass(frozen=True)
class StreamInfo:
    """What the server settled on when it opened a stream.

    Attributes:
        stream_id: identifies the stream in the server's logs.
        joint_set: names and skeleton of the joints in the results.
        settings: every setting in force.
        models: the networks.
        resumed: whether an earlier stream continues.
        resume_refusal: why not, if that was requested and refused.
    """

    stream_id: str
    joint_set: JointSet
    settings: StreamSettings
    models: ModelNames = ModelNames()
    resumed: bool = False
    resume_refusal: str = ""


@dataclass(frozen=True)
class StreamSummary:
    """The counts of a stream that ended in order: `frames = tracked + failed + dropped`, each counted once.

    Attributes:
        frames: number of frames of the source, or given to `send`.
        sent: of these, how many were sent; the others were unreadable, or superseded before they could be sent.
        tracked: frames that were processed, with people or without.
        failed: frames that could not be read or processed.
        dropped: frames not processed although nothing was wrong with them.
        identities: track ids given out.
        reconnects: how often the connection was lost and the stream resumed.
    """

    frames: int
    sent: int
    tracked: int
    failed: int
    dropped: int
    identities: int
    reconnects: int = 0


@dataclass(frozen=True, eq=False)
class PoseEstimate:
    """The poses in one picture.

    Attributes:
        people: in the order of the given boxes, or by decreasing score; their ids are 0.
        joint_set: names and skeleton of the joints.
        size: width and height of the picture as the server decoded it.
        timings_ms: as in `FrameResult`.
    """

    people: tuple[Person, ...]
    joint_set: JointSet
    size: tuple[int, int]
    timings_ms: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ServerLimits:
    """What the server accepts from this client, whose token may narrow the limits.

    Attributes:
        max_frame_bytes: bytes of one encoded frame or picture.
        max_frame_pixels: width times height of one decoded frame.
        max_streams: streams of all clients, open at the same time.
        max_people: people in one frame.
        max_pictures: pictures of all clients (`estimate_poses`) in progress at the same time; None: the server, an
            older version, does not say.
    """

    max_frame_bytes: int
    max_frame_pixels: int
    max_streams: int
    max_people: int
    max_pictures: int | None = None


@dataclass(frozen=True)
class ServerInfo:
    """A server's version, models, limits and device.

    Attributes:
        version: of posewire.
        device: where the networks run, e.g. `cpu (openvino, float32)`.
        models: the networks.
        joint_set: the pose network's own joints.
        joint_sets: names that the setting `joint_set` accepts.
        codecs: names of the codecs that it accepts.
        limits: sizes and counts.
        tracker_defaults: values of the settings that are left out.
        active_streams: open now.
        has_detector: whether it has a detector; if not, every frame must be sent with boxes.
    """

    version: str
    device: str
    models: ModelNames
    joint_set: JointSet
    joint_sets: tuple[str, ...]
    codecs: tuple[str, ...]
    limits: ServerLimits
    tracker_defaults: TrackerSettings
    active_streams: int
    has_detector: bool
