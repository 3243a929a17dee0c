"""Frames on their way to the server."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from posewire import _wire
from posewire._streaming.answers import DISCONNECTED, Answers
from posewire._streaming.call import TrackCall
from posewire._streaming.delivery import Delivery
from posewire._streaming.send_window import SendWindow
from posewire.results import FloatArray, FrameStatus
from posewire.sources import SourceFrame

__all__ = ["Outgoing"]


class Outgoing:
    """Sends the frames of one stream; without a connection, keeps or drops them.

    Args:
        call: the first call, open.
        answers: keeps the account.
        window: limits the frames in flight.
        delivery: takes the results of frames that are not sent.
        waits: whether frames wait while there is no connection. If not, they are dropped.
        on_sent: called when the server begins to owe a response.

    Attributes:
        connected: whether frames can be sent now.
        finished: whether the last frame has been passed to `send`.
        over: whether the stream is over, so that nothing more is sent.
    """

    def __init__(
        self,
        call: TrackCall,
        answers: Answers,
        window: SendWindow,
        delivery: Delivery,
        *,
        waits: bool,
        on_sent: Callable[[], None],
    ) -> None:
        self._call = call
        self._answers = answers
        self._ledger = answers.ledger
        self._window = window
        self._delivery = delivery
        self._waits = waits
        self._on_sent = on_sent
        self._background: asyncio.Task[None] | None = None
        self.connected = True
        self.finished = False
        self.over = False

    @property
    def drops(self) -> bool:
        """Whether frames are currently dropped, because there is no connection."""
        return not self.connected and not self._waits

    def has_room(self, *, counting_untaken: bool) -> bool:
        """Whether another frame may be in flight, or the stream is over."""
        in_flight = self._ledger.in_flight
        busy = in_flight + (len(self._delivery) if counting_untaken else 0)
        takes = self.connected or self._answers.resends or self.drops
        return self.over or (takes and busy < self._window.most and in_flight < self._window.limit)

    # -- frames --------------------------------------------------------------------------------------------------------

    async def send(self, frame: SourceFrame, data: bytes, boxes: FloatArray | None, *, taken_s: float) -> None:
        """Send a frame; does nothing if the stream is over.

        Without a connection, it is sent later, when there is one again, or dropped.

        Args:
            frame: as the ledger keeps it.
            data: its pixels, in the stream's codec.
            boxes: as returned by `boxes_array`.
            taken_s: the time from which its latency is measured.

        Raises:
            InvalidSettings: the number is not larger than the previous one.
        """
        if self.over:
            return
        if not self.connected and (self.drops or not self._answers.resends):
            await self.drop(frame)
            return
        # The request first: if building it fails, the frame must not count as sent.
        request = _wire.frame_request(frame.number, frame.time_s if frame.timed else None, data, boxes)
        self._ledger.record_sent(frame, taken_s=taken_s, on_call=self.connected)
        self._answers.retained.add(request)
        if self.connected:
            self._window.record_sent(frame.number)
            if self._ledger.owed == 1:
                self._on_sent()
            await self._call.write(request)

    async def drop(self, frame: SourceFrame) -> None:
        """Record a frame that cannot be sent for lack of a connection, now or when packets before it arrived."""
        await self.skip(frame, FrameStatus.DROPPED, DISCONNECTED, "there was no connection to a server")

    async def skip(self, frame: SourceFrame, status: FrameStatus, reason: str, message: str) -> None:
        """Record a frame that is not sent, and deliver its result.

        Raises:
            InvalidSettings: as in `send`.
        """
        self._ledger.record_skipped(frame, status, reason, message)
        await self._delivery.publish(self._ledger.release())

    async def finish(self) -> None:
        """End the frames: half-close the call."""
        self.finished = True
        if self.connected:
            await self._call.half_close()
            self._on_sent()

    # -- calls ---------------------------------------------------------------------------------------------------------

    def leave_call(self) -> None:
        """The server is going away: send nothing more, so that it can finish what it has."""
        if self.connected:
            self.connected = False
            self._run_in_background(self._call.half_close())

    async def end_call(self) -> None:
        """Stop sending: the call is over."""
        self.connected = False
        background, self._background = self._background, None
        if background is not None:
            background.cancel()
            await asyncio.gather(background, return_exceptions=True)

    def begin_call(self, call: TrackCall) -> None:
        """Another call is open: resend the retained frames to its server, then send new ones."""
        self._call = call
        self._run_in_background(self._resend(call))

    def cancel(self) -> None:
        """Send nothing more."""
        if self._background is not None:
            self._background.cancel()

    async def _resend(self, call: TrackCall) -> None:
        """Send the retained frames again. Runs as a task, since responses must be read at the same time."""
        number = -1
        while (request := self._answers.retained.next_to_send(number)) is not None:
            number = request.frame.number
            self._ledger.record_resent(number)
            self._on_sent()
            if not await call.write(request):
                return  # lost again
        if self._answers.draining:
            await call.half_close()
            return
        self.connected = True
        if self.finished:
            await call.half_close()
        self._on_sent()
        await self._delivery.notify()

    def _run_in_background(self, work: Coroutine[Any, Any, None]) -> None:
        self._background = asyncio.create_task(work, name="posewire-background")
