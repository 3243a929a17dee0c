"""The frames and responses of one stream, over one or more calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from dataclasses import replace

from posewire._streaming.answers import Answers
from posewire._streaming.call import TrackCall
from posewire._streaming.delivery import Delivery, Failure
from posewire._streaming.outgoing import Outgoing
from posewire._streaming.reconnection import Reconnection
from posewire._streaming.send_window import window_for
from posewire.connection import Reconnected
from posewire.errors import ConnectionLost, MisuseError, PosewireError, StreamBroken, StreamDrained
from posewire.results import FrameResult, StreamInfo, StreamSummary
from posewire.resume import ResumePoint

__all__ = ["Exchange"]

_log = logging.getLogger(__name__)

_LOOK_AGAIN_S = 1.0


class Exchange:
    """Receives the responses in its own task, and releases results in frame order.

    When a call is lost, that task opens another one and continues there.

    Args:
        call: open; owned by the exchange from now on.
        timeout_s: longest silence of the server while it owes a response.
        reconnection: finds another server; None: a lost call ends the stream.
        waits: whether frames wait while there is no connection. If not, they are dropped.
        resume: the point from which the call was asked to resume.
        on_reconnect: called after every successful reconnection.

    Attributes:
        call: the current call.
        calls: number of calls so far.
        outgoing: sends the frames.
        summary: the checked account once the stream has ended normally; None before.
        on_stop: called when no more frames are wanted: the stream is over, or about to be.
    """

    def __init__(
        self,
        call: TrackCall,
        timeout_s: float,
        *,
        reconnection: Reconnection | None,
        waits: bool,
        resume: ResumePoint | None,
        on_reconnect: Callable[[Reconnected], object] | None,
    ):
        self.call = call
        self.calls = 1
        self.summary: StreamSummary | None = None
        self.on_stop: Callable[[], None] | None = None
        self._timeout_s = timeout_s
        self._reconnection = reconnection
        self._on_reconnect = on_reconnect
        self._joints = call.info.joint_set.names
        window = window_for(call.info.settings)
        self._answers = Answers(call.info, window, goes_on=reconnection is not None, resume=resume)
        self._ledger = self._answers.ledger
        self._delivery = Delivery()
        self.outgoing = Outgoing(
            call,
            self._answers,
            window,
            self._delivery,
            waits=waits or reconnection is None,
            on_sent=self._reset_deadline,
        )
        self._answer_deadline = asyncio.timeout(None)
        self._complete = False
        self._failure: Failure | None = None
        self._local_failure: Failure | None = None
        self._receiver = asyncio.create_task(self._receive(), name="posewire-receive")

    @property
    def next_number(self) -> int:
        """The smallest number that the next frame can have."""
        return self._ledger.next_number

    @property
    def untaken(self) -> int:
        """Number of results that nobody has taken yet."""
        return len(self._delivery)

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where another stream can resume this one; None until the server has sent a token."""
        return self._answers.retained.resume_point

    def check_open(self) -> None:
        """Check that frames can still be sent.

        Raises:
            MisuseError: `finish` was called before.
            PosewireError: the stream ended early.
        """
        if self.outgoing.finished:
            raise MisuseError("this stream was told that no more frames come; open another one")
        if self._failure is not None:
            raise self._failure.again()

    async def wait_for_room(self, *, counting_untaken: bool) -> None:
        """Wait until another frame may be in flight, or the stream is over."""
        while not self.outgoing.has_room(counting_untaken=counting_untaken):
            with contextlib.suppress(TimeoutError):  # then looks again: there may be room because time has passed
                async with asyncio.timeout(_LOOK_AGAIN_S):
                    await self._delivery.until(lambda: self.outgoing.has_room(counting_untaken=counting_untaken))

    async def finish(self, failure: BaseException | None = None, *, complete: bool = True) -> None:
        """End the frames; `failure`, if given, is raised after the last result.

        Args:
            failure: what went wrong with the source.
            complete: whether every frame was sent; false if some are left because the server is going away.
        """
        self._complete = complete
        if failure is not None:
            self._local_failure = self._local_failure or Failure(failure)
        await self.outgoing.finish()
        await self._delivery.notify()  # a search for a server may no longer be needed

    async def take(self) -> FrameResult | None:
        """The next result; None after the last one of a stream that ended normally.

        Raises:
            PosewireError: the stream failed; raised after the last result that arrived.
        """
        await self._delivery.until(lambda: bool(self._delivery) or self.outgoing.over)
        if self._delivery:
            return await self._delivery.pop()
        failure = self._failure or self._local_failure
        if failure is not None:
            raise failure.again()
        return None

    def cancel(self) -> None:
        """End the stream from this side, without waiting for it to end."""
        self._receiver.cancel()
        self.outgoing.cancel()
        self.call.cancel()

    async def aclose(self) -> None:
        """Cancel the call and the tasks."""
        self.cancel()
        try:
            await asyncio.gather(self._receiver, return_exceptions=True)
            if not self.outgoing.over:  # cancelled before it began
                await self._end()
        finally:
            await self.outgoing.end_call()

    # -- the receiving task --------------------------------------------------------------------------------------------

    async def _receive(self) -> None:
        """Enter every response into the account, call after call, until the stream is over."""
        try:
            while (cause := await self._follow_call()) is not None:
                if not await self._go_on(cause):
                    break
        except asyncio.CancelledError:
            pass  # by `cancel`; a cancelled task would keep the call alive through its traceback
        except PosewireError as error:
            self.call.cancel()
            if isinstance(error, StreamBroken) and not error.unanswered:
                error.unanswered = self._ledger.unanswered
            self._failure = Failure(error)
        except ValueError as error:
            self.call.cancel()
            broken = StreamBroken(
                f"a response of the server is invalid: {error}; this is a fault of the server: report it",
                unanswered=self._ledger.unanswered,
            )
            self._failure = Failure(broken)
        except Exception as error:  # noqa: BLE001  a bug in this program, which must not be hidden
            self.call.cancel()
            self._failure = Failure(error)
        finally:
            await self._end()

    async def _end(self) -> None:
        self.outgoing.over = True
        self._answers.retained.forget_frames()
        self._stop()
        self._failure = self._failure or self._cut_short()
        await self._delivery.publish(self._ledger.release())

    async def _follow_call(self) -> StreamBroken | None:
        """Process the responses of the current call; returns why the stream must continue in another one, if so."""
        try:
            try:
                async with asyncio.timeout(None) as self._answer_deadline:
                    self._reset_deadline()  # a frame may have been sent before this task first ran
                    while (response := await self.call.read()) is not None:
                        self._answers.enter(response)
                        if self._answers.draining:
                            self._make_ready_to_leave()
                        self._reset_deadline()
                        await self._delivery.publish(self._ledger.release())
            except TimeoutError:
                self.call.cancel()
                raise ConnectionLost(self._silence()) from None
            return self._check_end_of_call()
        except ConnectionLost as error:
            return error

    def _make_ready_to_leave(self) -> None:
        if self._reconnection is None:
            self._stop()
        else:
            self.outgoing.leave_call()

    def _check_end_of_call(self) -> StreamDrained | None:
        """Check the account of a call that ended with status OK; returns why the stream is not at its end, if so.

        If the server is going away, the stream is at its end only if nothing is missing. Any other server ends a call
        after the last frame, with its account.

        Raises:
            AccountingError: the account differs from the answers, or an answer is missing.
            StreamBroken: there is no account.
        """
        answers = self._answers
        if not self._ledger.owed:
            answers.check_call()
        if answers.draining and self._something_is_missing():
            resume = self.resume_point
            how = "open another stream, with resume=" if resume else "open another stream; ids start anew"
            return StreamDrained(
                f"the server has drained the stream {self.call.info.stream_id}: it is about to stop, or the stream was "
                f"open or idle for too long, or its token has changed; {how}",
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

    def _something_is_missing(self) -> bool:
        """Whether a frame was not sent or has no result, or the account has not come."""
        # With reconnection, frames that the server left out are dropped ones like others; without, they are missing.
        left_out = self._answers.left_out and self._reconnection is None
        return not self._complete or left_out or self._ledger.in_flight > 0 or self._answers.account is None

    def _end_in_order(self) -> None:
        self.summary = replace(self._answers.summary(), reconnects=self.calls - 1)

    async def _go_on(self, cause: StreamBroken) -> bool:
        """Open another call and resume the stream there; False if the stream is over and nothing is left to do.

        Raises:
            PosewireError: there will be no other call.
        """
        await self.outgoing.end_call()
        if self._reconnection is None:
            raise cause
        now = asyncio.get_running_loop().time
        lost_s, idle = now(), not self._ledger.owed
        if self._answers.progress:
            self._reconnection.record_progress()
        lost = self._answers.withdraw()
        await self._delivery.publish(self._ledger.release())
        found = None
        if not self._nothing_is_left():
            address, resume = self.call.address, self.resume_point
            found = await self._reconnection.open_another(address, resume, cause, self._wait, idle=idle)
        if found is None:
            self._end_in_order()
            return False
        self.call, attempts = found
        self.calls += 1
        info = self.call.info
        self._check_joints(info)
        self._answers.begin_call(info)
        self._announce(
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
        self.outgoing.begin_call(self.call)
        return True

    def _nothing_is_left(self) -> bool:
        return self.outgoing.finished and not self._ledger.in_flight

    async def _wait(self, seconds: float) -> bool:
        """Wait `seconds`, or until the stream ends; returns whether anything is left to do."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._delivery.until(self._nothing_is_left)
        return not self._nothing_is_left()

    def _check_joints(self, info: StreamInfo) -> None:
        """Raise `StreamBroken` if the joints of results would change."""
        names = info.joint_set.names
        if names != self._joints:
            raise StreamBroken(
                f"the server at {self.call.address} gives other joints than those with which the stream began:"
                f" {', '.join(names)} instead of {', '.join(self._joints)}; open another stream there, or give servers"
                " that stand in for each other the same networks"
            )

    def _announce(self, event: Reconnected) -> None:
        self._delivery.announce(event)
        _log.warning("%s", event)
        if self._on_reconnect is not None:
            try:
                self._on_reconnect(event)
            except Exception:  # noqa: BLE001  raised by the program's own function; the stream is not affected
                _log.exception("on_reconnect failed")

    def _stop(self) -> None:
        if self.on_stop is not None:
            self.on_stop()

    def _cut_short(self) -> Failure | None:
        """The failure of a stream that was closed from this side before its end."""
        if self.summary is not None:
            return None
        return Failure(MisuseError("this stream was closed before its end; no more results come"))

    def _silence(self) -> str:
        owed = self._ledger.unanswered
        what = f"frame {owed[0]}" if owed else "the end of the stream"
        return (
            f"the server has been silent for {self._timeout_s:g} s and owes the answer to {what}"
            f" (stream {self.call.info.stream_id}); look at its log, or raise timeout_s"
        )

    def _reset_deadline(self) -> None:
        """Restart the time the server has for its next response, if it owes one."""
        owes = self._ledger.owed > 0 or self.outgoing.finished or self._answers.draining
        # Expired, not yet entered (an AssertionError on Python 3.11.2), or over: the receiver handles it.
        with contextlib.suppress(RuntimeError, AssertionError):
            self._answer_deadline.reschedule(asyncio.get_running_loop().time() + self._timeout_s if owes else None)
