"""The account of a stream: which frames were sent, what became of each, and whether the sums are right.

A stream may consist of several calls in succession, if connections are lost. Each call has its own sums, since its
server only knows that call.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from posewire.errors import AccountingError, InvalidSettings
from posewire.results import FrameResult, FrameStatus, Person, StreamSummary
from posewire.sources import SourceFrame

__all__ = ["Ledger"]


@dataclass(slots=True, eq=False)
class _Entry:
    """A frame, the time from which its latency is measured (NaN if it is never sent), and its result, once known."""

    frame: SourceFrame
    taken_s: float
    result: FrameResult | None = None


class Ledger:
    """Matches answers with frames, and releases results in frame order.

    A server reports dropped frames in a later response, so the answers themselves are out of order.
    """

    def __init__(self) -> None:
        self._entries: deque[_Entry] = deque()
        self._open: dict[int, _Entry] = {}
        self._last_number = -1
        self._frames = self._sent = 0
        self._counts = dict.fromkeys(FrameStatus, 0)
        self._call_sent = 0
        self._call_counts = dict.fromkeys(FrameStatus, 0)
        self._echoes: set[int] = set()
        self._largest_id = 0
        self._ids_before = 0  # of earlier calls, after which ids restarted

    @property
    def in_flight(self) -> int:
        """Number of frames that were sent and have no answer."""
        return len(self._open)

    @property
    def unanswered(self) -> tuple[int, ...]:
        """The numbers of the frames in flight."""
        return tuple(self._open)

    @property
    def next_number(self) -> int:
        """The smallest number that the next frame can have."""
        return self._last_number + 1

    @property
    def owed(self) -> int:
        """Number of answers that the server of the current call owes."""
        return self._call_sent - sum(self._call_counts.values())

    # -- calls ---------------------------------------------------------------------------------------------------------

    def begin_call(self, *, ids_go_on: bool) -> None:
        """Continue with another call, on which nothing has been sent. Its ids go on, or start at 1 again."""
        if not ids_go_on:
            self._ids_before += self._largest_id
            self._largest_id = 0
        self._call_sent = 0
        self._call_counts = dict.fromkeys(FrameStatus, 0)
        self._echoes.clear()

    def record_resent(self, number: int) -> None:
        """Record that a frame recorded before this call is sent on it.

        If the frame already has its result, its answer is an echo: it only counts for the call.
        """
        self._call_sent += 1
        if number not in self._open:
            self._echoes.add(number)

    def record_returned(self, number: int) -> None:
        """Record that the server dropped a frame which will be sent again."""
        self._echoes.discard(number)
        self._call_counts[FrameStatus.DROPPED] += 1

    def record_lost(self, number: int, reason: str, message: str) -> None:
        """Record that a sent frame will never be answered."""
        self._set_result(self._open.pop(number), FrameStatus.DROPPED, reason=reason, message=message)

    # -- frames --------------------------------------------------------------------------------------------------------

    def record_sent(self, frame: SourceFrame, *, taken_s: float | None = None, on_call: bool = True) -> None:
        """Record a frame that is about to be sent.

        Args:
            frame: the frame; its image, if any, goes into its result.
            taken_s: the time from which its latency is measured, of `time.perf_counter`; None: now.
            on_call: whether it is sent on the current call; if not, call `record_resent` when it is.

        Raises:
            InvalidSettings: its number is not larger than the previous one.
        """
        self._open[frame.number] = self._add(frame, time.perf_counter() if taken_s is None else taken_s)
        self._sent += 1
        self._call_sent += on_call

    def record_skipped(self, frame: SourceFrame, status: FrameStatus, reason: str, message: str) -> None:
        """Record a frame that is never sent, and why.

        Raises:
            InvalidSettings: as in `record_sent`.
        """
        self._set_result(self._add(frame, math.nan), status, reason=reason, message=message)

    def record_tracked(
        self,
        number: int,
        *,
        people: tuple[Person, ...],
        size: tuple[int, int],
        timings_ms: Mapping[str, float],
        detector_ran: bool,
        detect_every: int,
    ) -> None:
        """Record that the server tracked a frame.

        Raises:
            AccountingError: the frame was never sent, or was answered before.
        """
        if self._is_echo(number, FrameStatus.TRACKED):
            return
        entry = self._take_answered(number, FrameStatus.TRACKED)
        self._largest_id = max([self._largest_id, *(person.id for person in people)])
        self._set_result(
            entry,
            FrameStatus.TRACKED,
            people=people,
            size=size,
            timings_ms=timings_ms,
            detector_ran=detector_ran,
            detect_every=detect_every,
        )

    def record_missed(self, number: int, status: FrameStatus, reason: str, message: str) -> None:
        """Record that a sent frame failed or was dropped.

        Raises:
            AccountingError: the frame was never sent, or was answered before.
        """
        if not self._is_echo(number, status):
            self._set_result(self._take_answered(number, status), status, reason=reason, message=message)

    def release(self) -> list[FrameResult]:
        """The results that are next in frame order; each is returned once."""
        released: list[FrameResult] = []
        while self._entries and (result := self._entries[0].result) is not None:
            self._entries.popleft()
            released.append(result)
        return released

    def check_call(self, received: int, tracked: int, failed: int, dropped: int) -> None:
        """Compare with the server's account of the current call.

        Raises:
            AccountingError: the counts differ.
        """
        ours = (self._call_sent, *(self._call_counts[status] for status in FrameStatus))
        theirs = (received, tracked, failed, dropped)
        if ours != theirs:
            names = ("received", "tracked", "failed", "dropped")
            wrong = [
                f"{name} {them} for {us}" for name, us, them in zip(names, ours, theirs, strict=True) if us != them
            ]
            raise AccountingError(
                f"the server's account of the stream differs from what it answered: {', '.join(wrong)};"
                " this is a fault of the server: report it"
            )

    def summary(self, identities: int | None = None) -> StreamSummary:
        """The whole account.

        Args:
            identities: number of track ids assigned on the last call, as reported by its server; None: not reported,
                so the largest id seen is used.

        Raises:
            AccountingError: a frame has no answer.
        """
        if self._open:
            numbers = ", ".join(map(str, list(self._open)[:10]))
            raise AccountingError(
                f"the server ended the stream and left {len(self._open)} of {self._sent} frames without an answer"
                f" ({numbers}{', ...' if len(self._open) > 10 else ''}); this is a fault of the server: report it",
                unanswered=self.unanswered,
            )
        return StreamSummary(
            frames=self._frames,
            sent=self._sent,
            tracked=self._counts[FrameStatus.TRACKED],
            failed=self._counts[FrameStatus.FAILED],
            dropped=self._counts[FrameStatus.DROPPED],
            identities=self._ids_before + (self._largest_id if identities is None else identities),
        )

    def _add(self, frame: SourceFrame, taken_s: float) -> _Entry:
        if frame.number <= self._last_number:
            raise InvalidSettings(f"frame number {frame.number} follows {self._last_number}; numbers must increase")
        self._last_number = frame.number
        self._frames += 1
        entry = _Entry(frame, taken_s)
        self._entries.append(entry)
        return entry

    def _is_echo(self, number: int, status: FrameStatus) -> bool:
        """Whether the frame had its result before this call; if so, its answer is counted here."""
        if number not in self._echoes:
            return False
        self._echoes.remove(number)
        self._call_counts[status] += 1
        return True

    def _take_answered(self, number: int, status: FrameStatus) -> _Entry:
        entry = self._open.pop(number, None)
        if entry is None:
            seen = "a second time" if number <= self._last_number else "which was never sent"
            raise AccountingError(
                f"the server answered frame {number} {seen}; this is a fault of the server: report it"
            )
        self._call_counts[status] += 1
        return entry

    def _set_result(self, entry: _Entry, status: FrameStatus, **what: Any) -> None:
        """Set the result of a frame; `what` are the fields that are not taken from the frame."""
        frame, latency_ms = entry.frame, (time.perf_counter() - entry.taken_s) * 1e3
        entry.result = FrameResult(
            frame.number, frame.time_s, status, latency_ms=latency_ms, name=frame.name, image=frame.image, **what
        )
        self._counts[status] += 1
