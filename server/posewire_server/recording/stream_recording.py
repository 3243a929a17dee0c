"""The messages of one stream on their way into files."""

from __future__ import annotations

import logging
import time

from posewire.v1 import track_pb2
from posewire_server.decoding.decoders import VIDEO_CODECS
from posewire_server.decoding.video import holds_key_frame, holds_parameters
from posewire_server.observability.logs import current_stream
from posewire_server.recording.recorder import Piece, Recorder, RecordingFile
from posewire_server.wire.names import CODECS

__all__ = ["StreamRecording"]

log = logging.getLogger(__name__)


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
        self._part: RecordingFile | None = None
        self._first = 0  # number of the first frame in it
        self._earlier: RecordingFile | None = None  # the part before, while frames of it may be unanswered
        self._ended = False

    def request(self, request: track_pb2.TrackRequest) -> None:
        """A request came."""
        if self._part is None:
            self._configuration = _without_token(request)
            return
        has_its_share = self._part.size > self._recorder.share_bytes and not self._part.ended
        if has_its_share and self._can_start(request.frame):
            self._started = _as_continued(self._started)
            self._begin_part(self._part, request.frame.number)
        self._put(self._part, request)

    def response(self, response: track_pb2.TrackResponse) -> None:
        """A response leaves; with the first, a stream has started."""
        if response.resume_token:  # whoever reads the file must not be able to take the stream over
            copied = track_pb2.TrackResponse()
            copied.CopyFrom(response)
            copied.ClearField("resume_token")
            response = copied
        if self._part is None:
            self._started.CopyFrom(response)
            self._recorder.streams += 1
            self._begin_part(None, 0)
        elif self._earlier is None or not self._answers_earlier(self._earlier, response):
            self._put(self._part, response)

    def end(self, reason: str = "the stream ended") -> None:
        """Nothing more comes."""
        if self._part is not None and not self._ended:
            self._ended = True
            self._recorder.streams -= 1
            for part in (self._earlier, self._part):
                if part is not None:
                    self._finish(part, reason)

    def _can_start(self, frame: track_pb2.Frame) -> bool:
        codec = CODECS.get(self._started.started.config.codec)
        if codec is None or codec not in VIDEO_CODECS:
            return True
        return holds_key_frame(codec, frame.data) and holds_parameters(codec, frame.data)

    def _begin_part(self, before: RecordingFile | None, first: int) -> None:
        if self._earlier is not None:
            self._finish(self._earlier, "the stream goes on in another file")
        self._part, self._first, self._earlier = self._recorder.file(current_stream.get()), first, before
        if self._configuration is not None:
            self._put(self._part, self._configuration)
        self._put(self._part, self._started)

    def _answers_earlier(self, earlier: RecordingFile, response: track_pb2.TrackResponse) -> bool:
        """Put what is about frames of the part before into that; whether this was all that the response says."""
        event = response.WhichOneof("event")
        number = {"tracked": response.tracked.number, "failed": response.failed.number}.get(str(event))
        if number is not None and number < self._first:
            self._put(earlier, response)
            return True
        dropped = [each for each in response.dropped if each.number < self._first]
        if dropped:
            self._put(earlier, track_pb2.TrackResponse(dropped=dropped))
        if event == "tracked":  # results come in order, failures do not
            self._finish(earlier, "the stream goes on in another file")
            self._earlier = None
        return False

    def _put(self, part: RecordingFile, message: track_pb2.TrackRequest | track_pb2.TrackResponse) -> None:
        if self._ended:
            return
        size = message.ByteSize()  # fields that this version does not know take room, too
        part.size += size
        if not self._recorder.put(Piece(part, time.monotonic() - part.start_s, message, size=size)):
            log.warning("a recording ends: the disk is too slow for it")
            self.end("the disk was too slow")

    def _finish(self, part: RecordingFile, reason: str) -> None:
        self._recorder.put(Piece(part, time.monotonic() - part.start_s, end=reason))


def _as_continued(started: track_pb2.TrackResponse) -> track_pb2.TrackResponse:
    copied = track_pb2.TrackResponse()
    copied.CopyFrom(started)
    copied.started.resume.CopyFrom(track_pb2.ResumeOutcome(resumed=True))
    return copied


def _without_token(request: track_pb2.TrackRequest) -> track_pb2.TrackRequest:
    if not request.config.HasField("resume"):
        return request
    copied = track_pb2.TrackRequest()
    copied.CopyFrom(request)
    copied.config.resume.ClearField("token")
    return copied
