"""The responses to the client of one stream, in order and with every frame accounted for."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from google.protobuf import duration_pb2, timestamp_pb2

from posewire.v1 import track_pb2
from posewire_server.errors import FrameError
from posewire_server.first_of import one_ended
from posewire_server.observability.metrics import Metrics
from posewire_server.streams.inbox import DropReason
from posewire_server.wire.names import DROP_REASONS
from posewire_server.wire.status import error_reason, failure_reason

__all__ = ["Accounts", "FrameId", "Outbox"]

log = logging.getLogger(__name__)

# Drops are sent with the next response; if there is none within this time, they are sent alone.
_REPORT_DROPS_AFTER_S = 0.05
# A client that sends frames without reading responses is held back when this many drops are unreported, or when a
# response has been unread for this long.
_MAX_UNREPORTED = 1000
_STUCK_AFTER_S = 1.0


@dataclass(frozen=True)
class FrameId:
    """The client's identification of a frame; returned unchanged.

    Attributes:
        number: the client's frame number.
        capture_time: when the frame was taken, on the client's clock; None if the client does not say.
    """

    number: int
    capture_time: timestamp_pb2.Timestamp | None


@dataclass
class Accounts:
    """Counts of frames: received = tracked + failed + dropped, once every frame has been answered.

    Attributes:
        received: frames that arrived.
        tracked: frames with a result.
        failed: frames that were unusable, or on which a network failed.
        dropped: frames for which there was no time.
        in_decoder: frames that the video decoder keeps until more arrive.
    """

    received: int = 0
    tracked: int = 0
    failed: int = 0
    dropped: int = 0
    in_decoder: int = 0

    @property
    def open(self) -> int:
        """Frames that have not been answered yet."""
        return self.received - self.tracked - self.failed - self.dropped

    @property
    def outcomes(self) -> dict[str, int]:
        """The four numbers of the account."""
        return {
            "received": self.received,
            "tracked": self.tracked,
            "failed": self.failed,
            "dropped": self.dropped,
        }

    @property
    def in_work(self) -> int:
        """Unanswered frames that need no further frames from the client."""
        return self.open - self.in_decoder


class Outbox:
    """Sends responses one at a time, from any task.

    Args:
        write: sends a response; returns when flow control has accepted it.
        metrics: count failed and dropped frames.

    Attributes:
        accounts: of the stream.
        late: frames dropped because they could not be processed in time.
        sending_since_s: since when a response is being sent, on the clock of `time.monotonic`; None: none is.
        on_given_up: called when a frame fails or is dropped.
    """

    def __init__(self, write: Callable[[track_pb2.TrackResponse], Awaitable[None]], metrics: Metrics) -> None:
        self._write = write
        self._metrics = metrics
        self._sending = asyncio.Lock()
        self._dropped: list[track_pb2.DroppedFrame] = []
        self._something_dropped = asyncio.Event()
        self.accounts = Accounts()
        self.late = 0
        self.sending_since_s: float | None = None
        self.on_given_up: Callable[[], None] = lambda: None

    async def started(self, message: track_pb2.StreamStarted) -> None:
        """The stream is open."""
        await self._send(track_pb2.TrackResponse(started=message))

    async def tracked(self, message: track_pb2.TrackedFrame, resume_token: bytes = b"") -> None:
        """A frame was tracked."""
        self.accounts.tracked += 1
        await self._send(track_pb2.TrackResponse(tracked=message, resume_token=resume_token))

    async def failed(self, frame: FrameId, error: FrameError) -> None:
        """A frame failed."""
        self.accounts.failed += 1
        self.on_given_up()
        self._metrics.frame_failed(error_reason(error))
        message = track_pb2.FailedFrame(
            number=frame.number, capture_time=frame.capture_time, reason=failure_reason(error), message=error.message
        )
        await self._send(track_pb2.TrackResponse(failed=message))

    def dropped(self, frame: FrameId, reason: DropReason) -> None:
        """A frame was dropped; reported with the next response, or soon on its own."""
        self.accounts.dropped += 1
        self.on_given_up()
        self.late += reason in (DropReason.SUPERSEDED, DropReason.TOO_OLD)
        self._metrics.frame_dropped(reason)
        self._dropped.append(track_pb2.DroppedFrame(number=frame.number, reason=DROP_REASONS[reason]))
        self._something_dropped.set()

    async def drain(self, grace_s: float, resume_token: bytes) -> None:
        """The server is about to stop."""
        grace = duration_pb2.Duration()
        grace.FromNanoseconds(int(grace_s * 1e9))
        await self._send(track_pb2.TrackResponse(drain=track_pb2.Drain(grace=grace), resume_token=resume_token))

    async def summary(self, identities: int) -> None:
        """The last response of a stream that ends in order."""
        message = track_pb2.StreamSummary(**self.accounts.outcomes, identities=identities)
        await self._send(track_pb2.TrackResponse(summary=message))

    async def report_drops(self) -> None:
        """Report drops for which there is no other response; runs until it is cancelled."""
        while True:
            await self._something_dropped.wait()
            await asyncio.sleep(_REPORT_DROPS_AFTER_S)
            if self._dropped:
                await self._send(track_pb2.TrackResponse())

    @property
    def is_stuck(self) -> bool:
        """Whether a response has been unread for long."""
        since = self.sending_since_s
        return since is not None and time.monotonic() - since > _STUCK_AFTER_S

    async def caught_up(self) -> None:
        """Wait while too much is unreported because the client does not read."""
        if len(self._dropped) >= _MAX_UNREPORTED or self.is_stuck:
            await self._send(track_pb2.TrackResponse())  # after the one that is stuck

    async def _send(self, response: track_pb2.TrackResponse) -> None:
        # gRPC cannot cancel a write that has begun, and refuses another one meanwhile. So if the sending task is
        # cancelled, the write goes on, and the next one waits for it.
        sending = asyncio.ensure_future(self._send_whole(response))
        try:
            await one_ended(sending)  # not `shield`, which from Python 3.14 on logs failures that nobody waits for
        except asyncio.CancelledError:
            sending.add_done_callback(_note_failure)
            raise
        sending.result()

    async def _send_whole(self, response: track_pb2.TrackResponse) -> None:
        async with self._sending:
            response.dropped.extend(self._dropped)
            self._dropped.clear()
            self._something_dropped.clear()
            self.sending_since_s = time.monotonic()
            await self._write(response)
            self.sending_since_s = None


def _note_failure(sending: asyncio.Future[None]) -> None:
    """Log the failure of a write that nobody awaits any more, as when the call has ended."""
    if not sending.cancelled() and sending.exception() is not None:
        log.debug("a response could not be sent: %s", sending.exception())
