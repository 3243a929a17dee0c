"""Statistics of one stream, for ListStreams and the log."""

from __future__ import annotations

import math
import statistics
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from posewire_server.streams.outbox import Accounts
from posewire_server.streams.session import Session
from posewire_server.wire.requests import StreamSettings

__all__ = ["Pace", "Progress"]

# Statistics are over this much of the past.
_RECENT_S = 5.0
_RECENT_FRAMES = 512


@dataclass(frozen=True)
class Pace:
    """How quickly a stream was tracked in the last seconds.

    Attributes:
        fps: frames tracked a second.
        latency_ms: time that a frame spent in the server, median.
        latency_p95_ms: its 95th percentile, by rank.
    """

    fps: float = 0.0
    latency_ms: float = 0.0
    latency_p95_ms: float = 0.0


class Progress:
    """Statistics of one stream.

    Args:
        session: its state.
        settings: what the client chose.
        accounts: of its frames.
        caller: name of its token.
        clock: seconds; a test's own.

    Attributes:
        size: (height, width) of the newest frame; None before the first.
        people: in it.
    """

    def __init__(
        self,
        session: Session,
        settings: StreamSettings,
        accounts: Accounts,
        caller: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.session, self.settings, self.accounts, self.caller = session, settings, accounts, caller
        self._clock = clock
        self._opened_s = clock()
        self._recent: deque[tuple[float, float]] = deque(maxlen=_RECENT_FRAMES)
        self.size: tuple[int, int] | None = None
        self.people = 0

    @property
    def open_for_s(self) -> float:
        """Since the stream was opened."""
        return self._clock() - self._opened_s

    def tracked(self, size: tuple[int, int], people: int, total_ms: float) -> None:
        """A frame was tracked."""
        self.size, self.people = size, people
        self._recent.append((self._clock(), total_ms))

    def pace(self) -> Pace:
        """Its current frame rate and latency."""
        now = self._clock()
        since = now - min(_RECENT_S, self.open_for_s)
        if len(self._recent) == _RECENT_FRAMES:
            since = max(since, self._recent[0][0])  # of a fast stream, what is remembered
        latencies = sorted(latency for ended_s, latency in self._recent if ended_s >= since)
        if not latencies or now <= since:
            return Pace()
        p95 = latencies[math.ceil(0.95 * len(latencies)) - 1]
        return Pace(len(latencies) / (now - since), statistics.median(latencies), p95)
