"""Statistics of a command's stream: frames, speed, latency, identities."""

from __future__ import annotations

import math
import statistics
import time
from collections import Counter, OrderedDict, deque
from dataclasses import dataclass, field

from posewire.cli.histogram import Histogram
from posewire.cli.quantities import quantity
from posewire.results import FrameResult

__all__ = ["Account"]

_RECENT_FRAMES = 50
# Far more than a tracker remembers: older ids do not occur again.
_RECENT_IDS = 10_000
# A limit, since messages may differ for every frame.
_MOST_REASONS = 100


@dataclass
class Account:
    """Counts results as they arrive. Its size is bounded, since cameras run for months.

    Attributes:
        tracked: number of tracked frames.
        failed: number of frames that could not be processed.
        dropped: number of dropped frames.
        people: number of people in the last tracked frame.
        identities: number of different track ids; those given after ids started anew are others.
        latencies_ms: of the tracked frames.
        stages_ms: times of the server's stages, by name.
        reasons: number of failed or dropped frames by reason; without the messages if these are too many.
        reconnects: how often the stream has reconnected.
    """

    tracked: int = 0
    failed: int = 0
    dropped: int = 0
    people: int = 0
    identities: int = 0
    latencies_ms: Histogram = field(default_factory=Histogram)
    stages_ms: dict[str, Histogram] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0
    _recent_ids: OrderedDict[int, None] = field(default_factory=OrderedDict)
    _recent_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_RECENT_FRAMES))
    _first_s: float = 0.0
    _last_s: float = 0.0

    def add(self, result: FrameResult) -> None:
        """Count one result."""
        if not result.tracked:
            self.failed += result.failed
            self.dropped += result.dropped
            self.reasons[self._reason(result)] += 1
            return
        self._last_s = time.monotonic()
        self._first_s = self._first_s or self._last_s
        self.tracked += 1
        if (news := result.reconnected) is not None:
            self.reconnects += 1
            if not news.resumed:
                self._recent_ids.clear()  # ids start at 1 again, for other people
        self.people = len(result.people)
        for person in result.people:
            self._count_identity(person.id)
        self.latencies_ms.add(result.latency_ms)
        if not math.isnan(result.latency_ms):
            self._recent_ms.append(result.latency_ms)
        for stage, value in result.timings_ms.items():
            self.stages_ms.setdefault(stage, Histogram()).add(value)

    @property
    def frames(self) -> int:
        """Number of frames with a result of any kind."""
        return self.tracked + self.failed + self.dropped

    @property
    def fps(self) -> float:
        """Tracked frames per second, from the first to the last; NaN before the second."""
        elapsed = self._last_s - self._first_s
        return (self.tracked - 1) / elapsed if elapsed > 0 else float("nan")

    @property
    def recent_latency_ms(self) -> float:
        """The median latency of the last frames; NaN before the first."""
        return statistics.median(self._recent_ms) if self._recent_ms else float("nan")

    def summary(self) -> str:
        """A summary in one line."""
        parts = [f"{quantity(self.tracked, 'frame')} tracked"]
        parts += [f"{count} {what}" for count, what in ((self.failed, "failed"), (self.dropped, "dropped")) if count]
        parts.append(quantity(self.identities, "identity", "identities"))
        if self.reconnects:
            parts.append(f"reconnected {self.reconnects} x")
        if self.tracked > 1:
            parts.append(f"{self.fps:.1f} fps")
        if self.latencies_ms.count:
            median_ms, late_ms = map(self.latencies_ms.percentile, (50, 95))
            parts.append(f"latency {median_ms:.0f} ms (median), {late_ms:.0f} ms (95 %)")
        return ", ".join(parts)

    def complaints(self, most: int = 3) -> list[str]:
        """Why frames have no result, the most frequent reasons first."""
        lines = [f"{count} x {reason}" for reason, count in self.reasons.most_common(most)]
        if len(self.reasons) > most:
            lines.append(f"and {quantity(len(self.reasons) - most, 'other reason')}")
        return lines

    def _count_identity(self, track_id: int) -> None:
        """Count an id if it is new."""
        self.identities += track_id not in self._recent_ids
        self._recent_ids[track_id] = None
        self._recent_ids.move_to_end(track_id)
        if len(self._recent_ids) > _RECENT_IDS:
            self._recent_ids.popitem(last=False)

    def _reason(self, result: FrameResult) -> str:
        whole = f"{result.reason}: {result.message}" if result.message else result.reason
        return whole if whole in self.reasons or len(self.reasons) < _MOST_REASONS else result.reason
