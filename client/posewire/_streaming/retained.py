"""What a client keeps of a stream so that it can resume at another server."""

from __future__ import annotations

from collections import deque
from dataclasses import replace

from posewire.resume import ResumePoint
from posewire.settings import PICTURE_CODECS, Codec
from posewire.v1 import track_pb2

__all__ = ["Retained"]

# Limit for the frames since the newest token, which arrives every second; raw images at a high rate may exceed it.
_MOST_REPLAYED_BYTES = 64 * 2**20


class Retained:
    """The newest token, the frame to which it belongs, and the frames after it.

    A token holds the state after the frame with which it came. If no frames may be skipped, those tracked since then
    are sent again after a loss, so that the new tracker reaches the state that was lost with the server.

    Args:
        codec: of the frames.
        replays: whether frames are sent again.
        start: where this stream itself was resumed: used as the resume point until it has a token of its own.
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
        """Keep a frame that is in flight, or about to be."""
        self._unanswered[request.frame.number] = request

    def record_tracked(self, number: int) -> None:
        """Record that a frame was tracked."""
        request = self._unanswered.pop(number, None)
        if request is None:  # sent a second time: it is already among those since the token
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
        """Record that a frame failed or was dropped for good."""
        self._unanswered.pop(number, None)

    def take_token(self, token: bytes) -> None:
        """Keep a new token; it belongs to the newest tracked frame."""
        self._token = token
        self._tracked_with_token = newest = self._newest_tracked
        while self._since_token and newest is not None and self._since_token[0].frame.number <= newest.frame.number:
            self._forget_oldest()

    def record_accepted(self) -> None:
        """Record that a server resumed from the token: it has not seen the frames tracked after that.

        If it drains before it has tracked anything, its token still belongs to the same frame.
        """
        self._newest_tracked = self._tracked_with_token

    def record_refused(self) -> None:
        """Forget the token, which is no longer usable, and the frames after it."""
        self._token, self._start = b"", None
        self._newest_tracked = self._tracked_with_token = None
        self._forget_since_token()

    def forget_frames(self) -> None:
        """Forget the frames, since none will be sent again; the resume point stays."""
        self._unanswered.clear()
        self._forget_since_token()

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where another stream can resume this one; None until the server has sent a token."""
        if not self._token:
            return self._start
        if self._tracked_with_token is None and self._start is not None:
            return replace(self._start, token=self._token)  # nothing has been tracked since then
        if self._codec in PICTURE_CODECS:
            newest = self._tracked_with_token
            return ResumePoint(self._token, b"" if newest is None else newest.frame.data, self._codec)
        return ResumePoint(self._token)  # a packet cannot be decoded on its own

    def next_to_send(self, after: int) -> track_pb2.TrackRequest | None:
        """The frame with the smallest number above `after` to send to another server; None after the last."""
        kept = (*self._since_token, *self._unanswered.values())
        waiting = [request for request in kept if request.frame.number > after]
        return min(waiting, key=lambda request: request.frame.number, default=None)

    def _forget_since_token(self) -> None:
        self._since_token.clear()
        self._bytes_since_token = 0

    def _forget_oldest(self) -> None:
        self._bytes_since_token -= len(self._since_token.popleft().frame.data)
