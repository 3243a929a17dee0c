"""Frames and answers of one stream, over as many calls as it takes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Coroutine
from dataclasses import replace
from typing import Any

from posewire import _wire
from posewire._answers import DISCONNECTED, Answers
from posewire._call import TrackCall
from posewire._delivery import Delivery
from posewire._reconnection import Reconnection
from posewire.connection import Reconnected
from posewire.errors import ConnectionLost, MisuseError, PosewireError, StreamBroken, StreamDrained
from posewire.results import FloatArray, FrameResult, FrameStatus, Image, StreamSummary
from posewire.resume import ResumePoint

__all__ = ["Exchange"]

_log = logging.getLogger(__name__)


class Exchange:
    """Sends frames, receives the answers in a task of its own, and releases results in frame order.

    When a call is lost, that task opens another one and goes on there.

    Args:
        call: open; belongs to the exchange from now on.
        timeout_s: longest silence of the server while it owes an answer.
        reconnection: finds another server; None: a lost call ends the stream.
        waits: whether frames wait while there is no connection. If not, they are dropped.
        on_reconnect: told of every loss that was made good.

    Attributes:
        call: the present call.
        calls: how many there were.
        summary: the checked account once the stream has ended in order; None before.
        on_stop: called when no more frames are wanted: the stream is over, or about to be.
    """

    def __init__(
        self,
        call: TrackCall,
        timeout_s: float,
        *,
        reconnection: Reconnection | None = None,
        waits: bool = True,
        on_reconnect: Callable[[Reconnected], object] | None = None,
    ):
        self.call = call
        self.calls = 1
        self.summary: StreamSummary | None = None
        self.on_stop: Callable[[], None] | None = None
        self._timeout_s = timeout_s
        self._reconnection = reconnection
        self._waits = waits
        self._on_reconnect = on_reconnect
        self._answers = Answers(call.info, goes_on=reconnection is not None)
        self._ledger = self._answers.ledger
        self._delivery = Delivery()
        self._patience = asyncio.timeout(None)
        self._connected = True
        self._finished = False
        self._complete = False
        self._over = False
        self._failure: BaseException | None = None
        self._local_failure: BaseException | None = None
        self._aside: asyncio.Task[object] | None = None
        self._receiver = asyncio.create_task(self._receive(), name="posewire-receive")

    @property
    def next_number(self) -> int:
        """The least number that the next frame can have."""
        return self._ledger.next_number

    @property
    def untaken(self) -> int:
        """Results that nobody has taken yet."""
        return len(self._delivery)

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where another stream can take up this one; None as long as the server has given no token."""
        return self._answers.retained.resume_point

    @property
    def drops(self) -> bool:
        """Whether frames are dropped at the moment, because there is no connection."""
        return not self._connected and not self._waits

    # -- frames --------------------------------------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raise why frames can no longer be sent, if that is so.

        Raises:
            MisuseError: `finish` was called before.
            PosewireError: the stream ended early.
        """
        if self._finished:
            raise MisuseError("this stream was told that no more frames come; open another one")
        if self._failure is not None:
            raise self._failure

    async def wait_for_room(self, in_flight: int, *, counting_untaken: bool) -> None:
        """Wait until fewer frames than that are under way, or the stream is over."""

        def is_room() -> bool:
            busy = self._ledger.in_flight + (len(self._delivery) if counting_untaken else 0)
            takes = self._connected or self._answers.resends or self.drops
            return self._over or (takes and busy < in_flight)

        await self._delivery.until(is_room)

    async def send(
        self,
        number: int,
        time_s: float,
        data: bytes,
        boxes: FloatArray | None,
        *,
        taken_s: float,
        name: str,
        image: Image | None,
    ) -> None:
        """Send a frame; does nothing if the stream is over, which `take` tells. The arguments are those of the ledger.

        Without a connection, it is sent when there is one again, or dropped.

        Raises:
            InvalidSettings: the number is not larger than the one before.
        """
        if self._over:
            return
        if not self._connected and (self.drops or not self._answers.resends) and self._reconnection is not None:
            await self.drop(number, time_s, name=name, image=image)
            return
        self._ledger.open(number, time_s, taken_s=taken_s, name=name, image=image, on_call=self._connected)
        request = _wire.frame_request(number, time_s, data, boxes)
        self._answers.retained.opened(request)
        if self._connected:
            if self._ledger.owed == 1:
                self._be_patient()
            await self.call.write(request)

    async def drop(self, number: int, time_s: float, *, name: str = "", image: Image | None = None) -> None:
        """Note a frame that cannot be sent for want of a connection, now or when the packets before it came."""
        message = "there was no connection to a server"
        await self.skip(number, time_s, FrameStatus.DROPPED, DISCONNECTED, message, name=name, image=image)

    async def skip(
        self,
        number: int,
        time_s: float,
        status: FrameStatus,
        reason: str,
        message: str,
        *,
        name: str = "",
        image: Image | None = None,
    ) -> None:
        """Note a frame that is not sent, so that it has its result too."""
        self._ledger.skip(number, time_s, status, reason, message, name=name, image=image)
        await self._delivery.publish(self._ledger.release())

    async def finish(self, failure: BaseException | None = None, *, complete: bool = True) -> None:
        """No more frames come; `failure`, if given, is raised after the last result.

        Args:
            failure: what went wrong with the source.
            complete: every frame was sent; false if some are left because the server is going away.
        """
        self._finished = True
        self._complete = complete
        self._local_failure = self._local_failure or failure
        if self._connected:
            await self.call.half_close()
            self._be_patient()

    # -- results -------------------------------------------------------------------------------------------------------

    async def take(self) -> FrameResult | None:
        """The next result; None after the last one of a stream that ended in order.

        Raises:
            PosewireError: the stream did not; after the last result that did come.
        """
        await self._delivery.until(lambda: bool(self._delivery) or self._over)
        if self._delivery:
            return await self._delivery.pop()
        failure = self._failure or self._local_failure
        if failure is not None:
            raise failure
        return None

    def cancel(self) -> None:
        """End the stream from this side, without waiting until that is done."""
        self._receiver.cancel()
        if self._aside is not None:
            self._aside.cancel()
        self.call.cancel()

    async def aclose(self) -> None:
        """Cancel the call and the tasks."""
        self.cancel()
        await asyncio.gather(self._receiver, return_exceptions=True)
        await self._end_aside()

    # -- the receiving task --------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        """Every response into the account, call after call, until the stream is over."""
        try:
            while (cause := await self._follow_call()) is not None:
                await self._go_on(cause)
        except PosewireError as error:
            self.call.cancel()
            if isinstance(error, StreamBroken) and not error.unanswered:
                error.unanswered = self._ledger.unanswered
            self._failure = error
        except ValueError as error:
            self.call.cancel()
            self._failure = StreamBroken(
                f"an answer of the server makes no sense: {error}; this is a fault of the server: report it",
                unanswered=self._ledger.unanswered,
            )
        finally:
            self._over = True
            self._stop()
            self._failure = self._failure or self._cut_short()
            await self._delivery.publish(self._ledger.release())

    async def _follow_call(self) -> StreamBroken | None:
        """Take the responses of the present call; gives why the stream has to go on in another one, if it has to."""
        try:
            try:
                async with asyncio.timeout(None) as self._patience:
                    self._be_patient()  # a frame may have been sent before this task came to run
                    while (response := await self.call.read()) is not None:
                        self._answers.enter(response)
                        if self._answers.draining:
                            self._make_ready_to_leave()
                        self._be_patient()
                        await self._delivery.publish(self._ledger.release())
            except TimeoutError:
                self.call.cancel()
                raise ConnectionLost(self._silence()) from None
            return self._settle()
        except ConnectionLost as error:
            if self._finished and self._reconnection is not None and not self._ledger.in_flight:
                self._end_in_order()  # there is nothing to go on for
                return None
            return error

    def _make_ready_to_leave(self) -> None:
        """The server is going away: send nothing more, so that it can finish with what it has."""
        if self._reconnection is None:
            self._stop()
        elif self._connected:
            self._connected = False
            self._do_aside(self.call.half_close())

    def _settle(self) -> StreamDrained | None:
        """Check the account of a call that ended with the status OK; gives why the stream is not at its end, if so."""
        answers, goes_on = self._answers, self._reconnection is not None
        if not self._ledger.owed:
            answers.check_call()
        whole = self._complete and (goes_on or not answers.left_out)
        if answers.draining and (self._ledger.in_flight or not whole or answers.account is None):
            resume = self.resume_point
            how = "open another stream, with resume=" if resume else "open another stream; ids start anew"
            return StreamDrained(
                f"the server is going away and has ended the stream {self.call.info.stream_id}; {how}",
                unanswered=self._ledger.unanswered,
                resume=resume,
            )
        if answers.account is None:
            raise StreamBroken(
                f"the server ended the stream {self.call.info.stream_id} without an account of it;"
                " this is a fault of the server: report it"
            )
        self._end_in_order()
        return None

    def _end_in_order(self) -> None:
        self.summary = replace(self._answers.summary(), reconnects=self.calls - 1)

    # -- going on ------------------------------------------------------------------------------------------------------

    async def _go_on(self, cause: StreamBroken) -> None:
        """Open another call and take the stream up again there.

        Raises:
            PosewireError: there will be none.
        """
        self._connected = False
        await self._end_aside()
        if self._reconnection is None:
            raise cause
        now = asyncio.get_running_loop().time
        lost_s, idle = now(), not self._ledger.owed
        if self._answers.progress:
            self._reconnection.progressed()
        lost = self._answers.withdraw()
        await self._delivery.publish(self._ledger.release())
        self.call, attempts = await self._reconnection.again(self.call.address, self.resume_point, cause, idle=idle)
        self.calls += 1
        info = self.call.info
        self._answers.begin_call(info)
        self._tell(
            Reconnected(
                address=self.call.address,
                stream_id=info.stream_id,
                resumed=info.resumed,
                refusal="" if info.resumed else info.resume_refusal or "there was no resume token yet",
                cause=str(cause),
                attempts=attempts,
                outage_s=now() - lost_s,
                resent=self._ledger.in_flight,
                lost=lost,
            )
        )
        self._do_aside(self._resend(self.call))

    async def _resend(self, call: TrackCall) -> None:
        """Send what the server has to see before the stream goes on. Answers come at the same time."""
        number = -1
        while (request := self._answers.retained.next_to_send(number)) is not None:
            number = request.frame.number
            self._ledger.again(number)
            self._be_patient()
            if not await call.write(request):
                return  # lost again
        if self._answers.draining:
            return
        self._connected = True
        if self._finished:
            await call.half_close()
        self._be_patient()
        await self._delivery.notify()

    def _tell(self, event: Reconnected) -> None:
        self._delivery.announce(event)
        _log.warning("%s", event)
        if self._on_reconnect is not None:
            try:
                self._on_reconnect(event)
            except Exception:  # noqa: BLE001  the program's own; the stream has nothing to do with it
                _log.exception("on_reconnect failed")

    def _do_aside(self, work: Coroutine[Any, Any, None]) -> None:
        self._aside = asyncio.create_task(work, name="posewire-aside")

    async def _end_aside(self) -> None:
        """End what may still be writing to a call that is over."""
        aside, self._aside = self._aside, None
        if aside is not None:
            aside.cancel()
            await asyncio.gather(aside, return_exceptions=True)

    # -- small things --------------------------------------------------------------------------------------------------

    def _stop(self) -> None:
        if self.on_stop is not None:
            self.on_stop()

    def _cut_short(self) -> PosewireError | None:
        """The failure of a stream that was closed from this side before its end."""
        if self.summary is not None:
            return None
        return MisuseError("this stream was closed before its end; no more results come")

    def _silence(self) -> str:
        owed = self._ledger.unanswered
        what = f"frame {owed[0]}" if owed else "the end of the stream"
        return (
            f"the server has been silent for {self._timeout_s:g} s and owes the answer to {what}"
            f" (stream {self.call.info.stream_id}); look at its log, or raise timeout_s"
        )

    def _be_patient(self) -> None:
        """Give the server time for its next answer, if it owes one."""
        if self._over:
            return
        owes = self._ledger.owed > 0 or self._finished or self._answers.draining
        with contextlib.suppress(RuntimeError):  # expired, or not yet entered: the receiver is about to see to it
            self._patience.reschedule(asyncio.get_running_loop().time() + self._timeout_s if owes else None)
