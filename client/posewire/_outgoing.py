"""Frames on their way to the server, while there is one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from posewire import _wire
from posewire._answers import DISCONNECTED, Answers
from posewire._call import TrackCall
from posewire._delivery import Delivery
from posewire.results import FloatArray, FrameStatus
from posewire.sources import SourceFrame

__all__ = ["Outgoing"]


class Outgoing:
    """Sends the frames of one stream; without a connection, keeps or drops them.

    Args:
        call: the first one, open.
        answers: keeps the account.
        delivery: of the results of frames that are not sent.
        waits: whether frames wait while there is no connection. If not, they are dropped.
        on_sent: called when the server has come to owe another answer.

    Attributes:
        connected: frames can be sent at the moment.
        finished: no more frames come.
        over: nothing will be sent any more.
    """

    def __init__(
        self, call: TrackCall, answers: Answers, delivery: Delivery, *, waits: bool, on_sent: Callable[[], None]
    ) -> None:
        self._call = call
        self._answers = answers
        self._ledger = answers.ledger
        self._delivery = delivery
        self._waits = waits
        self._on_sent = on_sent
        self._background: asyncio.Task[None] | None = None
        self.connected = True
        self.finished = False
        self.over = False

    @property
    def drops(self) -> bool:
        """Whether frames are dropped at the moment, because there is no connection."""
        return not self.connected and not self._waits

    def has_room(self, in_flight: int, *, counting_untaken: bool) -> bool:
        """Whether fewer frames than that are under way, or nothing will be sent any more."""
        busy = self._ledger.in_flight + (len(self._delivery) if counting_untaken else 0)
        takes = self.connected or self._answers.resends or self.drops
        return self.over or (takes and busy < in_flight)

    # -- frames --------------------------------------------------------------------------------------------------------

    async def send(self, frame: SourceFrame, data: bytes, boxes: FloatArray | None, *, taken_s: float) -> None:
        """Send a frame; does nothing if the stream is over.

        Without a connection, it is sent when there is one again, or dropped.

        Args:
            frame: as the ledger keeps it.
            data: its pixels, in the stream's codec.
            boxes: as `boxes_array` gives them.
            taken_s: since when its latency counts.

        Raises:
            InvalidSettings: the number is not larger than the one before.
        """
        if self.over:
            return
        if not self.connected and (self.drops or not self._answers.resends):
            await self.drop(frame)
            return
        # First the request: a frame that makes none must not be noted as sent.
        request = _wire.frame_request(frame.number, frame.time_s if frame.timed else None, data, boxes)
        self._ledger.open(frame, taken_s=taken_s, on_call=self.connected)
        self._answers.retained.add(request)
        if self.connected:
            if self._ledger.owed == 1:
                self._on_sent()
            await self._call.write(request)

    async def drop(self, frame: SourceFrame) -> None:
        """Note a frame that cannot be sent for want of a connection, now or when the packets before it came."""
        await self.skip(frame, FrameStatus.DROPPED, DISCONNECTED, "there was no connection to a server")

    async def skip(self, frame: SourceFrame, status: FrameStatus, reason: str, message: str) -> None:
        """Note a frame that is not sent, so that it has its result too.

        Raises:
            InvalidSettings: as `send`.
        """
        self._ledger.skip(frame, status, reason, message)
        await self._delivery.publish(self._ledger.release())

    async def finish(self) -> None:
        """No more frames come."""
        self.finished = True
        if self.connected:
            await self._call.half_close()
            self._on_sent()

    # -- calls ---------------------------------------------------------------------------------------------------------

    def leave_call(self) -> None:
        """The server is going away: send nothing more, so that it can finish with what it has."""
        if self.connected:
            self.connected = False
            self._run_in_background(self._call.half_close())

    async def end_call(self) -> None:
        """The call is over."""
        self.connected = False
        await self._end_background()

    def begin_call(self, call: TrackCall) -> None:
        """Another call is open: send what its server has to see, then what comes."""
        self._call = call
        self._run_in_background(self._resend(call))

    def cancel(self) -> None:
        """Send nothing more."""
        if self._background is not None:
            self._background.cancel()

    async def aclose(self) -> None:
        """Release what is under way."""
        await self._end_background()

    async def _resend(self, call: TrackCall) -> None:
        """A task, since answers have to be taken at the same time."""
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

    async def _end_background(self) -> None:
        background, self._background = self._background, None
        if background is not None:
            background.cancel()
            await asyncio.gather(background, return_exceptions=True)
