"""Distributing the messages of one stream to its recording's files."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from typing import TypeVar

from posewire.v1 import track_pb2
from posewire_server.decoding.decoders import VIDEO_CODECS
from posewire_server.decoding.video import holds_key_frame, holds_parameters
from posewire_server.observability.logs import current_stream
from posewire_server.recording.recorder import Piece, Recorder, RecordingFile
from posewire_server.wire.names import CODECS

__all__ = ["StreamRecording"]

log = logging.getLogger(__name__)

# A part may exceed its share by this many further shares while no frame comes with which a new part can begin.
_MOST_OVERDUE_SHARES = 2

_Message = TypeVar("_Message", track_pb2.TrackRequest, track_pb2.TrackResponse)


@dataclass(frozen=True, eq=False)
class _Part:
    """A part of a stream: its frames from number `first` on, up to the next part; `unanswered` has those in flight."""

    first: int
    file: RecordingFile
    unanswered: set[int] = field(default_factory=set)


class StreamRecording:
    """Records the stream of the current task. Its methods neither block nor raise.

    A long stream is recorded in parts, so that the oldest can be deleted for new ones. Each part begins with a frame at
    which decoding can start, and reads like the recording of a stream that continued another one.

    Args:
        recorder: writes the files. The first one is created when the stream has started: a refused call leaves none.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._configuration: track_pb2.TrackRequest | None = None
        self._started = track_pb2.TrackResponse()
        self._parts: list[_Part] = []  # the last one gets new frames; earlier ones, the outcomes of their frames
        self._newest = -1  # the highest frame number
        self._overdue_bytes = 0  # requests put into the last part since it reached its share
        self._ended = False

    def request(self, request: track_pb2.TrackRequest) -> None:
        """Record a request."""
        if not self._parts:
            self._configuration = _without_token(request)
            return
        if self._parts[-1].file.ended:  # for lack of space, or after a disk error
            self.end()
        if self._ended:
            return
        number, share_bytes = request.frame.number, self._recorder.share_bytes
        is_new = number > self._newest
        if self._parts[-1].file.size > share_bytes:
            self._overdue_bytes += request.ByteSize()
            if is_new and self._can_start(request.frame):
                self._started = _as_continued(self._started)
                self._begin_part(number)
            elif self._overdue_bytes > _MOST_OVERDUE_SHARES * share_bytes:
                log.warning(
                    "a recording ends: no frame comes with which another file could begin; configure the camera to "
                    "send key frames with parameter sets more often, or raise --record-max-mb"
                )
                self.end("no frame came with which another file could begin")
                return
        if is_new:
            self._newest = number
            self._parts[-1].unanswered.add(number)
        self._put(self._parts[-1], request)

    def response(self, response: track_pb2.TrackResponse) -> None:
        """Record a response; with the first one, the stream has started."""
        if response.resume_token:  # readers of the file must not be able to take over the stream
            response = _copy(response)
            response.ClearField("resume_token")
        if not self._parts:
            self._started.CopyFrom(response)
            self._recorder.streams += 1
            self._begin_part(0)
            self._configuration = _without_resume(self._configuration)  # only the first part has the last frame
        elif not self._ended:
            self._answer(response)

    def end(self, reason: str = "the stream ended") -> None:
        """Finish the recording."""
        if self._parts and not self._ended:
            self._ended = True
            self._recorder.streams -= 1
            for part in self._parts:
                self._finish(part, reason)

    def _can_start(self, frame: track_pb2.Frame) -> bool:
        codec = CODECS.get(self._started.started.config.codec)
        if codec not in VIDEO_CODECS:
            return True
        return holds_key_frame(codec, frame.data) and holds_parameters(codec, frame.data)

    def _begin_part(self, first: int) -> None:
        part = _Part(first, self._recorder.file(current_stream.get()))
        self._parts.append(part)
        self._overdue_bytes = 0
        if self._configuration is not None:
            self._put(part, self._configuration)
        self._put(part, self._started)

    def _answer(self, response: track_pb2.TrackResponse) -> None:
        """Put a response into the parts of its frames, and finish earlier parts with no unanswered frames."""
        dropped, is_divided = list(response.dropped), len(self._parts) > 1
        if dropped and is_divided:
            response = _copy(response)
            response.ClearField("dropped")
        for each in dropped:
            part = self._part_of(each.number)
            part.unanswered.discard(each.number)
            if is_divided:
                self._put(part, track_pb2.TrackResponse(dropped=[each]))
        part = self._parts[-1]
        match response.WhichOneof("event"):
            case "tracked":
                part = self._part_of(response.tracked.number)
                part.unanswered.discard(response.tracked.number)
            case "failed":
                part = self._part_of(response.failed.number)
                if response.failed.reason != track_pb2.FAILURE_REASON_BAD_NUMBER:  # the number is another frame's
                    part.unanswered.discard(response.failed.number)
            case _:
                pass
        self._put(part, response)
        for earlier in [each for each in self._parts[:-1] if not each.unanswered]:
            self._finish(earlier, "the stream continues in another file")
            self._parts.remove(earlier)

    def _part_of(self, number: int) -> _Part:
        return next((part for part in reversed(self._parts) if part.first <= number), self._parts[0])

    def _put(self, part: _Part, message: track_pb2.TrackRequest | track_pb2.TrackResponse) -> None:
        if self._ended:
            return
        size = message.ByteSize()  # unknown fields count, too
        part.file.size += size
        if not self._recorder.put(Piece(part.file, time.monotonic() - part.file.start_s, message, size=size)):
            log.warning("a recording ends: the disk is too slow for it")
            self.end("the disk was too slow")

    def _finish(self, part: _Part, reason: str) -> None:
        self._recorder.put(Piece(part.file, time.monotonic() - part.file.start_s, end=reason))


def _copy(message: _Message) -> _Message:
    copied = type(message)()
    copied.CopyFrom(message)
    return copied


def _as_continued(started: track_pb2.TrackResponse) -> track_pb2.TrackResponse:
    copied = _copy(started)
    copied.started.resume.CopyFrom(track_pb2.ResumeOutcome(resumed=True))
    return copied


def _without_resume(request: track_pb2.TrackRequest | None) -> track_pb2.TrackRequest | None:
    if request is None or not request.config.HasField("resume"):
        return request
    copied = _copy(request)
    copied.config.ClearField("resume")
    return copied


def _without_token(request: track_pb2.TrackRequest) -> track_pb2.TrackRequest:
    if not request.config.HasField("resume"):
        return request
    copied = _copy(request)
    copied.config.resume.ClearField("token")
    return copied
