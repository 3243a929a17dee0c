"""A recorded stream, as it is read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire_server.recording.file_format import Kind, NotARecording, records

__all__ = ["Outcome", "Recording"]

Outcome: TypeAlias = track_pb2.TrackedFrame | track_pb2.FailedFrame | track_pb2.DroppedFrame
"""What became of a frame."""

_NEVER_TRACKED = (
    track_pb2.FAILURE_REASON_BAD_NUMBER,
    track_pb2.FAILURE_REASON_BAD_BOXES,
    track_pb2.FAILURE_REASON_BAD_ELAPSED,
)


@dataclass(frozen=True, eq=False)
class Recording:
    """One stream. Pictures stay on the disk until they are asked for.

    Attributes:
        path: of the file.
        header: version, stream, time.
        started: what the server settled on.
        outcomes: by frame number.
        ending: why the recording ended; None if the server was killed meanwhile.
        seconds: how long it lasted.
    """

    path: Path
    header: dict[str, Any]
    started: track_pb2.StreamStarted
    outcomes: dict[int, Outcome]
    ending: str | None
    seconds: float

    @classmethod
    def read(cls, path: Path) -> Recording:
        """Read all but the pictures.

        Raises:
            NotARecording: the file is something else, or holds no stream.
            OSError: it cannot be read.
        """
        header: dict[str, Any] = {}
        started: track_pb2.StreamStarted | None = None
        outcomes: dict[int, Outcome] = {}
        ending, seconds = None, 0.0
        for record in records(path):
            seconds = record.time_s
            if record.kind is Kind.HEADER:
                header = json.loads(record.payload)
            elif record.kind is Kind.END:
                ending = json.loads(record.payload)["reason"]
            elif record.kind is Kind.RESPONSE:
                response = track_pb2.TrackResponse.FromString(record.payload)
                if response.HasField("started"):
                    started = response.started
                _note(response, outcomes)
        if started is None:
            raise NotARecording(f"{path} ends before its stream began; there is nothing in it")
        return cls(path, header, started, outcomes, ending, seconds)

    @property
    def config(self) -> settings_pb2.StreamConfig:
        """The stream's settings, all with their final values."""
        return self.started.config

    @property
    def is_video(self) -> bool:
        """Whether the frames build on each other."""
        return self.config.codec in (pose_pb2.CODEC_H264, pose_pb2.CODEC_H265)

    @property
    def is_stretched(self) -> bool:
        """Whether the server let the detector run less often than it was asked to, for want of time."""
        tracked = (each for each in self.outcomes.values() if isinstance(each, track_pb2.TrackedFrame))
        return any(each.detect_every != self.config.tracker.detect_every for each in tracked)

    def frames(self) -> Iterator[track_pb2.Frame]:
        """The frames that have an outcome, as they came."""
        for record in records(self.path):
            if record.kind is Kind.REQUEST:
                request = track_pb2.TrackRequest.FromString(record.payload)
                if request.HasField("frame") and request.frame.number in self.outcomes:
                    yield request.frame

    def frames_to_repeat(self) -> Iterator[track_pb2.Frame]:
        """Those that a decoder and a tracker have to see again: of pictures, neither dropped nor unusable ones.

        Of a video these are all: later units build on those that failed for their number or their boxes too, which
        were decoded and will fail for them again. Frames say how much time lies between them, as it was measured when
        all of them came.
        """
        last = -1
        for frame in self.frames():
            outcome, is_new = self.outcomes[frame.number], frame.number > last
            last = max(last, frame.number)
            dropped = isinstance(outcome, track_pb2.DroppedFrame)
            unusable = isinstance(outcome, track_pb2.FailedFrame) and outcome.reason in _NEVER_TRACKED
            if self.is_video or (is_new and not dropped and not unusable):
                if is_new and isinstance(outcome, track_pb2.TrackedFrame) and outcome.elapsed > 0:
                    frame.elapsed = outcome.elapsed
                yield frame

    def counterpart(self, now: Outcome) -> Outcome | None:
        """What the recording has in place of something that came of these frames now.

        None if that is nothing to compare: a frame was dropped then, or a number comes again, as it did.
        """
        recorded = self.outcomes[now.number]
        dropped = isinstance(recorded, track_pb2.DroppedFrame)
        is_of_another = _is_bad_number(now) and not _is_bad_number(recorded)
        return None if dropped or is_of_another else recorded


def _is_bad_number(outcome: Outcome) -> bool:
    """Whether it is of a frame whose number was not its own: of the frame that had that number, it says nothing."""
    return isinstance(outcome, track_pb2.FailedFrame) and outcome.reason == track_pb2.FAILURE_REASON_BAD_NUMBER


def _note(response: track_pb2.TrackResponse, outcomes: dict[int, Outcome]) -> None:
    new: list[Outcome] = list(response.dropped)
    match response.WhichOneof("event"):
        case "tracked":
            new.append(response.tracked)
        case "failed":
            new.append(response.failed)
    for outcome in new:
        before = outcomes.get(outcome.number)
        if before is None or _is_bad_number(before):
            outcomes[outcome.number] = outcome
