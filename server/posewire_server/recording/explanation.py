"""Running a recorded stream through networks and a tracker of our own, to see what happened in one frame."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from posewire.v1 import track_pb2
from posewire_models.frames import Frame
from posewire_server.config import BatchingConfig, LimitsConfig
from posewire_server.decoding import FrameDecoder, PictureDecoder
from posewire_server.errors import FrameError
from posewire_server.networks import Networks
from posewire_server.pipeline import Pipeline
from posewire_server.recording.recording import Recording
from posewire_server.recording.verdicts import PoseVerdict, verdicts
from posewire_server.session import Session
from posewire_server.tracking import Boxes, Observation, Tracker, TrackerConfig
from posewire_server.video_decoding import VideoDecoder
from posewire_server.wire.requests import StreamSettings, boxes_from, settings_from

__all__ = ["FrameExplanation", "explain"]


@dataclass(frozen=True)
class FrameExplanation:
    """What happened in one frame.

    Attributes:
        number: of the frame.
        config: of the tracker.
        detector_ran: on this frame.
        poses: what became of each.
        recorded_ids: what the recording says came out.
        ids: what came out now.
    """

    number: int
    config: TrackerConfig
    detector_ran: bool
    poses: list[PoseVerdict]
    recorded_ids: list[int]
    ids: list[int]


async def explain(recording: Recording, number: int, networks: Networks) -> FrameExplanation:
    """Track the recorded frames up to one of them, and tell what the tracker did with it.

    Raises:
        ValueError: there is no such frame, or it was not tracked.
        InferenceFailed: a network failed.
    """
    outcome = recording.outcomes.get(number)
    if not isinstance(outcome, track_pb2.TrackedFrame):
        what = "is not in the recording" if outcome is None else "was not tracked"
        outcomes = recording.outcomes.items()
        tracked = [each for each, became in outcomes if isinstance(became, track_pb2.TrackedFrame)]
        among = f"; tracked are {len(tracked)} frames, {min(tracked)}..{max(tracked)}" if tracked else ""
        raise ValueError(f"frame {number} {what}{among}")
    settings = settings_from(recording.config, TrackerConfig(), LimitsConfig(max_people=1000), networks.joint_set)
    seen: list[Observation] = []
    tracker = Tracker(settings.tracker, networks.joint_set.sigmas, seen.append)
    session, pipeline = Session("explained", tracker), Pipeline(networks, BatchingConfig())
    try:
        for recorded, frame, boxes in _tracked_frames(recording, settings):
            seen.clear()
            tracker.detect_every = recorded.detect_every or tracker.detect_every
            tracked_now = await pipeline.process(session, frame, boxes, elapsed=recorded.elapsed or None)
            await pipeline.catch_up(session)
            if recorded.number == number:
                return FrameExplanation(
                    number,
                    settings.tracker,
                    tracked_now.detector_ran,
                    verdicts(seen[0], settings.tracker),
                    sorted(person.id for person in outcome.people),
                    sorted(tracked_now.people.ids.tolist()),
                )
    finally:
        pipeline.close()
    raise ValueError(f"the recording does not hold the picture of frame {number}")


def _tracked_frames(
    recording: Recording, settings: StreamSettings
) -> Iterator[tuple[track_pb2.TrackedFrame, Frame, Boxes | None]]:
    """The frames that the tracker saw: what came out, the decoded picture, boxes of the caller."""
    limits = LimitsConfig(max_people=1000)
    decoder: FrameDecoder = (
        VideoDecoder(settings.codec, limits)
        if recording.is_video
        else PictureDecoder(settings.codec, settings.raw_size, limits)
    )
    fed: list[track_pb2.Frame] = []
    for frame in recording.frames_to_repeat():
        fed.append(track_pb2.Frame(number=frame.number))
        if frame.HasField("boxes"):
            fed[-1].boxes.CopyFrom(frame.boxes)
        for decoded in decoder.feed(len(fed) - 1, frame.data):
            source = fed[decoded.key]
            if isinstance(decoded.outcome, FrameError):
                continue
            recorded = recording.outcomes[source.number]
            if isinstance(recorded, track_pb2.TrackedFrame):
                boxes = boxes_from(source.boxes, limits) if source.HasField("boxes") else None
                yield recorded, Frame(decoded.outcome), boxes
