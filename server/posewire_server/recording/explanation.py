"""Running a recorded stream through local networks and a tracker, to see what happened in one frame."""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass

from posewire.v1 import track_pb2
from posewire_models.frames import Frame
from posewire_server.config import MOST_FRAME_PIXELS, MOST_PEOPLE, BatchingConfig, LimitsConfig
from posewire_server.decoding.decoders import Decoded
from posewire_server.decoding.decoding import Decoding
from posewire_server.errors import FrameError
from posewire_server.inference.networks import Networks
from posewire_server.inference.pipeline import Pipeline
from posewire_server.recording.recording import Recording
from posewire_server.recording.verdicts import PoseVerdict, verdicts
from posewire_server.streams.frame_clock import FrameClock
from posewire_server.streams.session import Session
from posewire_server.tracking import Boxes, Observation, Tracker, TrackerConfig
from posewire_server.wire.requests import StreamSettings, boxes_from, captured_s, settings_from

__all__ = ["FrameExplanation", "explain", "tracked_frame"]

# Accepts everything that the recorded server may have accepted.
_NO_LIMITS = LimitsConfig(max_frame_pixels=MOST_FRAME_PIXELS, max_people=MOST_PEOPLE)


@dataclass(frozen=True)
class FrameExplanation:
    """What happened in one frame.

    Attributes:
        number: of the frame.
        config: of the tracker.
        detector_ran: whether the detector ran on this frame.
        poses: the verdict on each.
        recorded_ids: the ids in the recording.
        ids: the ids now.
    """

    number: int
    config: TrackerConfig
    detector_ran: bool
    poses: list[PoseVerdict]
    recorded_ids: list[int]
    ids: list[int]


@dataclass(frozen=True, eq=False)
class _Fed:
    """The tracker's input of one frame without its pixels: recorded result, caller's boxes, time on the clock."""

    recorded: track_pb2.TrackedFrame
    boxes: Boxes | None
    moment_s: float | None


async def explain(recording: Recording, number: int, networks: Networks) -> FrameExplanation:
    """Track the recorded frames up to frame `number`, and explain what the tracker did with it.

    Raises:
        ValueError: there is no such frame, or it was not tracked.
        InvalidRequest, DetectorMissing: these networks cannot do what those of the recording did.
        InferenceFailed: a network failed.
    """
    outcome = tracked_frame(recording, number)
    settings = settings_from(recording.config, TrackerConfig(), _NO_LIMITS, networks.joint_set)
    seen: list[Observation] = []
    tracker = Tracker(settings.tracker, networks.joint_set.sigmas, seen.append)
    session, pipeline = Session("explained", tracker), Pipeline(networks, BatchingConfig())
    try:
        for fed, frame in _tracked_frames(recording, settings, session.clock):
            seen.clear()
            tracker.detect_every = fed.recorded.detect_every
            tracked_now = await pipeline.process(
                session, frame, given=fed.boxes, moment_s=fed.moment_s, elapsed=fed.recorded.elapsed
            )
            await pipeline.catch_up(session)
            if fed.recorded.number == number:
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


def tracked_frame(recording: Recording, number: int) -> track_pb2.TrackedFrame:
    """The result of a frame. Raises `ValueError` if there is no such frame, or it was not tracked."""
    outcome = recording.outcomes.get(number)
    if not isinstance(outcome, track_pb2.TrackedFrame):
        what = "is not in the recording" if outcome is None else "was not tracked"
        raise ValueError(f"frame {number} {what}{_tracked_beside(recording, number)}")
    return outcome


def _tracked_beside(recording: Recording, number: int) -> str:
    """Which frames can be explained instead: most frames of a camera may have been dropped."""
    outcomes = recording.outcomes.items()
    tracked = sorted(each for each, became in outcomes if isinstance(became, track_pb2.TrackedFrame))
    if not tracked:
        return "; no frame was tracked"
    place = bisect.bisect(tracked, number)
    beside = " and ".join(map(str, tracked[max(place - 1, 0) : place + 1]))
    return f"; {len(tracked)} of the frames {tracked[0]}..{tracked[-1]} were tracked, nearest: {beside}"


def _tracked_frames(recording: Recording, settings: StreamSettings, clock: FrameClock) -> Iterator[tuple[_Fed, Frame]]:
    """The frames that the tracker saw, in its order."""
    inside: dict[int, _Fed] = {}
    for decoded in _decoded(recording, settings, clock, inside):
        fed = inside.pop(decoded.key, None)
        if fed is not None and not isinstance(decoded.outcome, FrameError):
            yield fed, Frame(decoded.outcome)


def _decoded(
    recording: Recording, settings: StreamSettings, clock: FrameClock, inside: dict[int, _Fed]
) -> Iterator[Decoded]:
    """Everything that the decoder returns. Frames that were tracked are put into `inside` first."""
    decoder = Decoding().decoder(settings.codec, settings.raw_size, _NO_LIMITS)
    last = -1
    for key, frame in enumerate(recording.frames_to_repeat()):
        if frame.number > last:  # a repeated number belongs to another frame, and its time does not count
            moment_s = clock.received(captured_s(frame), arrived_s=0.0)
            recorded = recording.outcomes.get(frame.number)
            if isinstance(recorded, track_pb2.TrackedFrame):
                boxes = boxes_from(frame.boxes, _NO_LIMITS) if frame.HasField("boxes") else None
                inside[key] = _Fed(recorded, boxes, moment_s)
        last = max(last, frame.number)
        yield from decoder.feed(key, frame.data)
    yield from decoder.flush()
