"""Reading a recorded stream."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

from google.protobuf.message import DecodeError

from posewire.v1 import settings_pb2, track_pb2
from posewire_server.decoding.decoders import VIDEO_CODECS
from posewire_server.decoding.video import holds_key_frame, looks_back
from posewire_server.recording.file_format import DamagedRecording, Kind, NotARecording, Record, records
from posewire_server.wire.names import CODECS

__all__ = ["Outcome", "Recording"]

Outcome: TypeAlias = track_pb2.TrackedFrame | track_pb2.FailedFrame | track_pb2.DroppedFrame
"""The outcome of a frame."""

_NEVER_TRACKED = (
    track_pb2.FAILURE_REASON_BAD_NUMBER,
    track_pb2.FAILURE_REASON_BAD_BOXES,
    track_pb2.FAILURE_REASON_BAD_ELAPSED,
)


@dataclass(frozen=True, eq=False)
class Recording:
    """A recorded stream. Pictures stay on disk until they are needed.

    Attributes:
        path: of the file.
        header: version, stream, time.
        started: the server's first response, with the final settings.
        outcomes: by frame number.
        ending: why the recording ended; None if the server was killed meanwhile, or the file is damaged.
        seconds: how long it lasted.
        damage: where the file is damaged; None if it is complete, or just cut off.
    """

    path: Path
    header: dict[str, Any]
    started: track_pb2.StreamStarted
    outcomes: dict[int, Outcome]
    ending: str | None
    seconds: float
    damage: DamagedRecording | None = None

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read everything but the pictures, up to where the file is cut off or damaged.

        Raises:
            NotARecording: the file is not a recording, or contains no stream.
            DamagedRecording: it is damaged before its stream began.
            OSError: it cannot be read.
        """
        header: dict[str, Any] = {}
        started: track_pb2.StreamStarted | None = None
        outcomes: dict[int, Outcome] = {}
        ending, seconds, damage = None, 0.0, None
        try:
            for record in records(path):
                content = _content(path, record)
                seconds = record.time_s
                if isinstance(content, track_pb2.TrackResponse):
                    if content.HasField("started"):
                        started = content.started
                    _note(content, outcomes)
                elif record.kind is Kind.HEADER:
                    header = content
                elif record.kind is Kind.END:
                    ending = str(content.get("reason"))
        except DamagedRecording as error:
            if started is None:
                raise
            damage = error
        if started is None:
            raise NotARecording(f"{path} ends before its stream began; there is nothing in it")
        return cls(path, header, started, outcomes, ending, seconds, damage)

    @property
    def config(self) -> settings_pb2.StreamConfig:
        """The stream's settings, all with their final values."""
        return self.started.config

    @property
    def is_video(self) -> bool:
        """Whether the frames build on each other."""
        return CODECS.get(self.config.codec) in VIDEO_CODECS

    @property
    def is_stretched(self) -> bool:
        """Whether the detector ran less often than requested, because of load."""
        tracked = (each for each in self.outcomes.values() if isinstance(each, track_pb2.TrackedFrame))
        return any(each.detect_every != self.config.tracker.detect_every for each in tracked)

    def frames(self) -> Iterator[track_pb2.Frame]:
        """The frames as they came; for pictures, only those with an outcome.

        For video, all frames: if the recording was cut off, frames with an outcome build on units without one.
        """
        for record in self._before_damage():
            if record.kind is Kind.REQUEST:
                request = track_pb2.TrackRequest.FromString(record.payload)
                if request.HasField("frame") and (self.is_video or request.frame.number in self.outcomes):
                    yield request.frame

    def _before_damage(self) -> Iterator[Record]:
        try:
            for record in records(self.path):
                if self.damage is not None and record.offset >= self.damage.offset:
                    return
                yield record
        except DamagedRecording:
            if self.damage is None:  # it was intact when it was read first
                raise

    def frames_to_repeat(self) -> Iterator[track_pb2.Frame]:
        """The frames to feed to a decoder and a tracker again: for pictures, without dropped and invalid ones.

        For video, all frames: later units also build on those that failed because of their number or boxes, which were
        decoded and will fail again. `elapsed` is set to the recorded value, which was measured when all frames came.
        """
        last = -1
        for frame in self.frames():
            outcome, is_new = self.outcomes.get(frame.number), frame.number > last
            last = max(last, frame.number)
            dropped = isinstance(outcome, track_pb2.DroppedFrame)
            unusable = isinstance(outcome, track_pb2.FailedFrame) and outcome.reason in _NEVER_TRACKED
            if self.is_video or (is_new and not dropped and not unusable):
                if is_new and isinstance(outcome, track_pb2.TrackedFrame):
                    frame.elapsed = outcome.elapsed
                yield frame

    def counterpart(self, now: Outcome) -> Outcome | None:
        """The recorded outcome to compare with the outcome `now` of a replayed frame.

        None if there is nothing to compare: the outcome is not in the recording, the frame was dropped then, its number
        is a repetition, as it was then, or it builds on frames that are not in the recording.
        """
        recorded = self.outcomes.get(now.number)
        if recorded is None or isinstance(recorded, track_pb2.DroppedFrame):
            return None
        is_of_another = _is_bad_number(now) and not _is_bad_number(recorded)
        return None if is_of_another or now.number in self._incomplete else recorded

    @cached_property
    def _incomplete(self) -> frozenset[int]:
        """Numbers of the frames, up to the second key frame, that build on the part before this one."""
        if not (self.is_video and self.started.resume.resumed):
            return frozenset()
        codec, numbers, key_frames = CODECS[self.config.codec], set(), 0
        for frame in self.frames():
            key_frames += holds_key_frame(codec, frame.data)
            if key_frames == 2:
                break
            if looks_back(codec, frame.data):
                numbers.add(frame.number)
        return frozenset(numbers)


def _is_bad_number(outcome: Outcome) -> bool:
    """Whether a frame failed because its number did not increase. That says nothing about the number's own frame."""
    return isinstance(outcome, track_pb2.FailedFrame) and outcome.reason == track_pb2.FAILURE_REASON_BAD_NUMBER


def _content(path: Path, record: Record) -> dict[str, Any] | track_pb2.TrackResponse:
    """The content of a record; for a request, an empty dictionary if it is valid.

    Raises:
        DamagedRecording: the content does not match its kind.
    """
    try:
        if record.kind is Kind.RESPONSE:
            return track_pb2.TrackResponse.FromString(record.payload)
        if record.kind is Kind.REQUEST:
            track_pb2.TrackRequest.FromString(record.payload)
            return {}
        values = json.loads(record.payload)
    except (DecodeError, ValueError, RecursionError) as error:  # the latter for nests of brackets
        raise DamagedRecording(path, record.offset, f"invalid {record.kind.name.lower()} record") from error
    if not isinstance(values, dict):
        raise DamagedRecording(path, record.offset, f"invalid {record.kind.name.lower()} record")
    return values


def _note(response: track_pb2.TrackResponse, outcomes: dict[int, Outcome]) -> None:
    new: list[Outcome] = list(response.dropped)
    match response.WhichOneof("event"):
        case "tracked":
            new.append(response.tracked)
        case "failed":
            new.append(response.failed)
        case _:
            pass
    for outcome in new:
        before = outcomes.get(outcome.number)
        if before is None or _is_bad_number(before):
            outcomes[outcome.number] = outcome
