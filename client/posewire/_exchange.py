"""Frames and answers of one open call, and the account of both."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

from posewire import _wire
from posewire._call import TrackCall
from posewire._ledger import Ledger
from posewire.errors import MisuseError, PosewireError, StreamBroken, StreamDrained
from posewire.results import FloatArray, FrameResult, FrameStatus, Image, StreamSummary
from posewire.resume import ResumePoint
from posewire.v1 import track_pb2

__all__ = ["Exchange"]

_DROP_MESSAGES = {
    "superseded": "a newer frame arrived while this one waited at the server",
    "too-old": "it waited longer at the server than max_age_ms",
    "draining": "the server stopped before its turn came",
}


class Exchange:
    """Sends frames on a call, receives the answers in a task of its own, and releases results in frame order.

    Args:
        call: open; belongs to the exchange from now on.
        timeout_s: longest silence of the server while it owes an answer.

    Attributes:
        call: the call.
        summary: the checked account once the stream has ended in order; None before.
        draining: the server has said that it is going away.
        on_stop: called when no more frames are wanted: the server is going away, or the call is over.
    """

    def __init__(self, call: TrackCall, timeout_s: float):
        self.call = call
        self.summary: StreamSummary | None = None
        self.draining = False
        self.on_stop: Callable[[], None] | None = None
        self._timeout_s = timeout_s
        self._ledger = Ledger()
        self._results: deque[FrameResult] = deque()
        self._changed = asyncio.Condition()
        self._patience = asyncio.timeout(None)
        self._finished = False
        self._complete = False
        self._over = False
        self._failure: BaseException | None = None
        self._local_failure: BaseException | None = None
        self._server_account: track_pb2.StreamSummary | None = None
        self._resume_token = b""
        self._encoded: dict[int, bytes] = {}
        self._last_tracked = b""
        self._receiver = asyncio.create_task(self._receive(), name="posewire-receive")

    @property
    def over(self) -> bool:
        """Whether the call has ended, in order or not."""
        return self._over

    @property
    def next_number(self) -> int:
        """The least number that the next frame can have."""
        return self._ledger.next_number

    @property
    def untaken(self) -> int:
        """Results that nobody has taken yet."""
        return len(self._results)

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where another stream can take up this one; None as long as the server has given no token."""
        codec = self.call.info.settings.codec
        if not self._resume_token:
            return None
        if codec == "jpeg" or codec == "png" or codec == "raw":
            return ResumePoint(self._resume_token, self._last_tracked, codec)
        return ResumePoint(self._resume_token)  # a packet cannot be decoded by itself

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
        """Wait until fewer frames than that are under way, or the call is over."""

        def is_room() -> bool:
            busy = self._ledger.in_flight + (len(self._results) if counting_untaken else 0)
            return self._over or busy < in_flight

        await self._until(is_room)

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
        """Send a frame; does nothing if the call is over, which `take` tells. The arguments are those of the ledger.

        Raises:
            InvalidSettings: the number is not larger than the one before.
        """
        if self._over:
            return
        self._ledger.open(number, time_s, taken_s=taken_s, name=name, image=image)
        self._encoded[number] = data
        if self._ledger.in_flight == 1:
            self._be_patient()
        await self.call.write(_wire.frame_request(number, time_s, data, boxes))

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
        await self._publish()

    async def finish(self, failure: BaseException | None = None, *, complete: bool = True) -> None:
        """No more frames come; `failure`, if given, is raised after the last result.

        Args:
            failure: what went wrong with the source.
            complete: every frame was sent; false if some are left because the server is going away.
        """
        self._finished = True
        self._complete = complete
        self._local_failure = self._local_failure or failure
        await self.call.half_close()
        self._be_patient()

    async def take(self) -> FrameResult | None:
        """The next result; None after the last one of a stream that ended in order.

        Raises:
            PosewireError: the stream did not; after the last result that did come.
        """
        await self._until(lambda: bool(self._results) or self._over)
        if self._results:
            result = self._results.popleft()
            await self._notify()
            return result
        failure = self._failure or self._local_failure
        if failure is not None:
            raise failure
        return None

    def cancel(self) -> None:
        """End the call from this side, without waiting until that is done."""
        self._receiver.cancel()
        self.call.cancel()

    async def aclose(self) -> None:
        """Cancel the call and the receiving task."""
        self.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._receiver

    async def _receive(self) -> None:
        """The receiving task: every response into the ledger, until the call is over."""
        try:
            async with self._patience:
                self._be_patient()  # a frame may have been sent before this task came to run
                while (response := await self.call.read()) is not None:
                    self._enter(response)
                    self._be_patient()
                    await self._publish()
            self._settle()
        except TimeoutError:
            self.call.cancel()
            self._failure = StreamBroken(self._silence(), unanswered=self._ledger.unanswered)
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
            await self._publish()

    def _enter(self, response: track_pb2.TrackResponse) -> None:
        """Enter one response into the account."""
        for dropped in response.dropped:
            reason = _wire.drop_reason(dropped.reason)
            self._complete = self._complete and reason != "draining"
            self._missed(dropped.number, FrameStatus.DROPPED, reason, _DROP_MESSAGES.get(reason, reason))
        match response.WhichOneof("event"):
            case "tracked":
                tracked = response.tracked
                self._last_tracked = self._encoded.pop(tracked.number, b"")
                self._ledger.tracked(
                    tracked.number,
                    people=_wire.people_from(tracked.people),
                    size=(tracked.size.width, tracked.size.height),
                    timings_ms=_wire.timings_from(tracked.timings),
                    detector_ran=tracked.detector_ran,
                    detect_every=tracked.detect_every,
                )
            case "failed":
                failed = response.failed
                self._missed(failed.number, FrameStatus.FAILED, _wire.failure_reason(failed.reason), failed.message)
            case "drain":
                self.draining = True
                self._stop()
            case "summary":
                self._server_account = response.summary
            case "started":
                raise StreamBroken(
                    "the server began the stream a second time; this is a fault of the server: report it"
                )
        if response.resume_token:
            self._resume_token = response.resume_token

    def _stop(self) -> None:
        if self.on_stop is not None:
            self.on_stop()

    def _missed(self, number: int, status: FrameStatus, reason: str, message: str) -> None:
        self._encoded.pop(number, None)
        self._ledger.missed(number, status, reason, message)

    def _settle(self) -> None:
        """Check the account of a call that ended with the status OK."""
        account = self._server_account
        if self.draining and (self._ledger.in_flight or not self._complete or account is None):
            resume = self.resume_point
            how = "open another stream, with resume=" if resume else "open another stream; ids start anew"
            raise StreamDrained(
                f"the server is going away and has ended the stream {self.call.info.stream_id}; {how}",
                unanswered=self._ledger.unanswered,
                resume=resume,
            )
        if account is None:
            raise StreamBroken(
                f"the server ended the stream {self.call.info.stream_id} without an account of it;"
                " this is a fault of the server: report it"
            )
        self.summary = self._ledger.close(
            account.received, account.tracked, account.failed, account.dropped, account.identities
        )

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
        owes = self._ledger.in_flight or self._finished
        with contextlib.suppress(RuntimeError):  # expired, or not yet entered: the receiver is about to see to it
            self._patience.reschedule(asyncio.get_running_loop().time() + self._timeout_s if owes else None)

    async def _publish(self) -> None:
        self._results.extend(self._ledger.release())
        await self._notify()

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _until(self, condition: Callable[[], bool]) -> None:
        if condition():  # the common case costs nothing
            return
        async with self._changed:
            await self._changed.wait_for(condition)
