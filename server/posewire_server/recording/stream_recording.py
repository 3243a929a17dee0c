"""The messages of one stream on their way into files."""

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

# So many more shares of the room a stream may take while no frame comes with which another part can begin.
_MOST_OVERDUE_SHARES = 2

_Message = TypeVar("_Message", track_pb2.TrackRequest, track_pb2.TrackResponse)


@dataclass(frozen=True, eq=False)
class _Part:
    """Of a stream: the frames from number `first` on, up to that of the next part; `unanswered` has their numbers."""

    first: int
    file: RecordingFile
    unanswered: set[int] = field(default_factory=set)


class StreamRecording:
    """Records the stream in whose task it is used. Nothing here waits, and nothing raises.

    A stream that lasts is recorded in parts, so that the oldest of them can make room for what comes. A part begins
    with a frame at which decoding can start; it reads as the recording of a stream that continued another one.

    Args:
        recorder: writes the files. The first one appears when the stream has started: a call that is refused leaves
            none.
    """

    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder
        self._configuration: track_pb2.TrackRequest | None = None
        self._started = track_pb2.TrackResponse()
        self._parts: list[_Part] = []  # the last one gets what comes; those before it, what comes of their frames
        self._newest = -1  # the highest number of a frame
        self._overdue_bytes = 0  # requests put into the last part since it had its share
        self._ended = False

    def request(self, request: track_pb2.TrackRequest) -> None:
        """A request came."""
        if not self._parts:
            self._configuration = _without_token(request)
            return
        if self._parts[-1].file.ended:  # for want of room, or by a fault of the disk
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
                    "a recording ends: no frame comes with which another file could begin; have the camera send key "
                    "frames with their parameter sets more often, or raise --record-max-mb"
                )
                self.end("no frame came with which another file could begin")
                return
        if is_new:
            self._newest = number
            self._parts[-1].unanswered.add(number)
        self._put(self._parts[-1], request)

    def response(self, response: track_pb2.TrackResponse) -> None:
        """A response leaves; with the first, a stream has started."""
        if response.resume_token:  # whoever reads the file must not be able to take the stream over
            response = _copy(response)
            response.ClearField("resume_token")
        if not self._parts:
            self._started.CopyFrom(response)
            self._recorder.streams += 1
            self._begin_part(0)
            self._configuration = _without_resume(self._configuration)  # whose last frame is in the first part
        elif not self._ended:
            self._answer(response)

    def end(self, reason: str = "the stream ended") -> None:
        """Nothing more comes."""
        if self._parts and not self._ended:
            self._ended = True
            self._recorder.streams -= 1
            for part in self._parts:
                self._finish(part, reason)

    def _can_start(self, frame: track_pb2.Frame) -> bool:
        codec = CODECS.get(self._started.started.config.codec)
        if codec is None or codec not in VIDEO_CODECS:
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
        """Put a response where its frames are, and finish the earlier parts whose frames all have their answers."""
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
                if response.failed.reason != track_pb2.FAILURE_REASON_BAD_NUMBER:  # which is another frame's
                    part.unanswered.discard(response.failed.number)
            case _:
                pass
        self._put(part, response)
        for earlier in [each for each in self._parts[:-1] if not each.unanswered]:
            self._finish(earlier, "the stream goes on in another file")
            self._parts.remove(earlier)

    def _part_of(self, number: int) -> _Part:
        return next((part for part in reversed(self._parts) if part.first <= number), self._parts[0])

    def _put(self, part: _Part, message: track_pb2.TrackRequest | track_pb2.TrackResponse) -> None:
        if self._ended:
            return
        size = message.ByteSize()  # fields that this version does not know take room, too
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
