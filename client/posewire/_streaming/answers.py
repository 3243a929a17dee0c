"""Handles the responses of a stream: they update its account, and what another server needs to resume it."""

from __future__ import annotations

from posewire import _wire
from posewire._streaming.ledger import Ledger
from posewire._streaming.retained import Retained
from posewire._streaming.send_window import SendWindow
from posewire.errors import StreamBroken
from posewire.results import FrameStatus, StreamInfo, StreamSummary
from posewire.resume import ResumePoint
from posewire.settings import PACKET_CODECS
from posewire.v1 import track_pb2

__all__ = ["DISCONNECTED", "Answers"]

DISCONNECTED = "disconnected"
"""The reason given for frames that are dropped because a connection was lost."""

_DROP_MESSAGES = {
    "superseded": "a newer frame arrived while this one waited at the server",
    "too-old": "it waited longer at the server than max_age_ms",
    "draining": "the server stopped before its turn came",
    "over-rate": "more frames a second came than the client's token allows",
}


class Answers:
    """Enters the responses of successive calls.

    Args:
        info: of the first call.
        window: learns of the answers.
        goes_on: whether a lost call is followed by another one.
        resume: the point from which the first call was asked to resume.

    Attributes:
        ledger: the account.
        retained: the frames and token that another server needs.
        resends: whether unanswered frames are sent again after a loss.
        draining: whether the server of the current call has said that it is going away.
        left_out: whether a server that is going away dropped frames that are not sent again.
        account: the server's account of the current call, once received.
        progress: number of frames that got their result from the current call.
    """

    def __init__(
        self, info: StreamInfo, window: SendWindow, *, goes_on: bool, resume: ResumePoint | None = None
    ) -> None:
        settings = info.settings
        # Packets depend on earlier ones: a new decoder cannot use those that were in flight.
        self.resends = goes_on and settings.drop_policy != "latest" and settings.codec not in PACKET_CODECS
        self.ledger = Ledger()
        self._window = window
        self.retained = Retained(settings.codec, replays=self.resends, start=resume if info.resumed else None)
        self.draining = False
        self.left_out = False
        self.account: track_pb2.StreamSummary | None = None
        self.progress = 0

    def begin_call(self, info: StreamInfo) -> None:
        """Continue with another call."""
        self.draining, self.account, self.progress = False, None, 0
        self._window.restart()
        self.ledger.begin_call(ids_go_on=info.resumed)
        if info.resumed:
            self.retained.record_accepted()
        else:
            self.retained.record_refused()

    def withdraw(self) -> tuple[int, ...]:
        """The call is lost: give up its unanswered frames unless they are sent again; returns their numbers."""
        if self.resends:
            return ()
        lost = self.ledger.unanswered
        for number in lost:
            self.retained.record_missed(number)
            self.ledger.record_lost(number, DISCONNECTED, "the connection was lost before its answer came")
        return lost

    def enter(self, response: track_pb2.TrackResponse) -> None:
        """Enter one response.

        Raises:
            StreamBroken: it contradicts the account, or the order of responses.
            ValueError: its contents are invalid.
        """
        for dropped in response.dropped:
            self._enter_dropped(dropped.number, _wire.drop_reason(dropped.reason))
        match response.WhichOneof("event"):
            case "tracked":
                self._enter_tracked(response.tracked)
            case "failed":
                failed = response.failed
                self._enter_missed(
                    failed.number, FrameStatus.FAILED, _wire.failure_reason(failed.reason), failed.message
                )
            case "drain":
                self.draining = True
            case "summary":
                self.account = response.summary
            case "started":
                raise StreamBroken(
                    "the server began the stream a second time; this is a fault of the server: report it"
                )
            case None:
                pass
        if response.resume_token:
            self.retained.take_token(response.resume_token)

    def check_call(self) -> None:
        """Compare with the server's account of the current call; raises `AccountingError` if they differ."""
        if self.account is not None:
            account = self.account
            self.ledger.check_call(account.received, account.tracked, account.failed, account.dropped)

    def summary(self) -> StreamSummary:
        """The whole account; raises `AccountingError` if it does not add up."""
        return self.ledger.summary(None if self.account is None else self.account.identities)

    def _enter_tracked(self, tracked: track_pb2.TrackedFrame) -> None:
        open_before = self.ledger.in_flight
        self.ledger.record_tracked(
            tracked.number,
            people=_wire.people_from(tracked.people),
            size=(tracked.size.width, tracked.size.height),
            timings_ms=_wire.timings_from(tracked.timings),
            detector_ran=tracked.detector_ran,
            detect_every=tracked.detect_every,
        )
        self.retained.record_tracked(tracked.number)
        self._window.record_answered(tracked.number, tracked.timings.total_ms / 1e3)
        self.progress += open_before - self.ledger.in_flight

    def _enter_dropped(self, number: int, reason: str) -> None:
        if reason == "draining" and self.resends:
            self.ledger.record_returned(number)
            return
        self.left_out = self.left_out or reason == "draining"
        self._enter_missed(number, FrameStatus.DROPPED, reason, _DROP_MESSAGES.get(reason, reason))

    def _enter_missed(self, number: int, status: FrameStatus, reason: str, message: str) -> None:
        open_before = self.ledger.in_flight
        self.ledger.record_missed(number, status, reason, message)
        self.retained.record_missed(number)
        self._window.record_answered(number)
        self.progress += open_before - self.ledger.in_flight
