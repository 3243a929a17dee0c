"""What a client keeps of a stream so that it can go on at another server."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from posewire.resume import ResumePoint
from posewire.settings import Codec
from posewire.v1 import track_pb2

__all__ = ["Retained"]

# Of the frames since the newest token, which comes every second; raw pictures of a fast stream are cut short.
_MOST_REPLAYED_BYTES = 64 * 2**20


class Retained:
    """The newest token, the frame to which it belongs, and the frames that came after it.

    A token is as old as the frame with which it came. Where every frame counts, those that were tracked since then are
    sent once more after a loss, so that the tracker comes to know again what it knew when the server died.

    Args:
        codec: of the frames.
        replays: whether frames are to be sent again.
        start: from where the stream goes on itself: it can be taken up there until it has a token of its own.
    """

    def __init__(self, codec: Codec, *, replays: bool, start: ResumePoint | None = None) -> None:
        self._codec = codec
        self._replays = replays
        self._start = start
        self._unanswered: dict[int, track_pb2.TrackRequest] = {}
        self._token = b""
        self._tracked_with_token: track_pb2.TrackRequest | None = None
        self._newest_tracked: track_pb2.TrackRequest | None = None
        self._since_token: deque[track_pb2.TrackRequest] = deque()
        self._bytes_since_token = 0

    def add(self, request: track_pb2.TrackRequest) -> None:
        """Keep a frame that is under way, or about to be."""
        self._unanswered[request.frame.number] = request

    def record_tracked(self, number: int) -> None:
        """Note that a frame was tracked."""
        request = self._unanswered.pop(number, None)
        if request is None:  # sent a second time: it has its place among those since the token
            request = next((each for each in self._since_token if each.frame.number == number), None)
            self._newest_tracked = request or self._newest_tracked
            return
        self._newest_tracked = request
        if self._replays:
            self._since_token.append(request)
            self._bytes_since_token += len(request.frame.data)
            while self._bytes_since_token > _MOST_REPLAYED_BYTES:
                self._forget_oldest()

    def record_missed(self, number: int) -> None:
        """Note that a frame failed or was dropped for good."""
        self._unanswered.pop(number, None)

    def take_token(self, token: bytes) -> None:
        """Keep a token that came; it belongs to the newest frame that was tracked."""
        self._token = token
        self._tracked_with_token = newest = self._newest_tracked
        while self._since_token and newest is not None and self._since_token[0].frame.number <= newest.frame.number:
            self._forget_oldest()

    def record_accepted(self) -> None:
        """Note that a server goes on from the token: what was tracked after it, that server has not seen.

        If it drains before it has tracked anything, the token that it gives is of the same frame still.
        """
        self._newest_tracked = self._tracked_with_token

    def record_refused(self) -> None:
        """Forget the token, which is worth nothing any more, and what came after it."""
        self._token, self._start = b"", None
        self._newest_tracked = self._tracked_with_token = None
        self._forget_since_token()

    def forget_frames(self) -> None:
        """Forget the frames, of which none will be sent again; the resume point stays."""
        self._unanswered.clear()
        self._forget_since_token()

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where another stream can take up this one; None as long as the server has given no token."""
        if not self._token:
            return self._start
        if self._tracked_with_token is None and self._start is not None:
            return replace(self._start, token=self._token)  # nothing has been tracked since then
        codec = self._codec
        if codec == "jpeg" or codec == "png" or codec == "raw":
            newest = self._tracked_with_token
            return ResumePoint(self._token, b"" if newest is None else newest.frame.data, codec)
        return ResumePoint(self._token)  # a packet cannot be decoded by itself

    def next_to_send(self, after: int) -> track_pb2.TrackRequest | None:
        """The frame with the least number above `after` that another server has to see; None after the last."""
        kept = (*self._since_token, *self._unanswered.values())
        waiting = [request for request in kept if request.frame.number > after]
        return min(waiting, key=lambda request: request.frame.number, default=None)

    def _forget_since_token(self) -> None:
        self._since_token.clear()
        self._bytes_since_token = 0

    def _forget_oldest(self) -> None:
        self._bytes_since_token -= len(self._since_token.popleft().frame.data)
