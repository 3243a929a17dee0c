"""What a command saw go by: how many frames, how fast, how late, who."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass, field

import numpy as np

from posewire.results import FrameResult

__all__ = ["Account"]


@dataclass
class Account:
    """Counts results as they come.

    Attributes:
        tracked: frames with an answer.
        failed: frames that could not be processed.
        dropped: frames that were given up.
        people: in the last tracked frame.
        ids: all track ids that came.
        latencies_ms: of the tracked frames.
        stages_ms: times of the server's stages, by name.
        reasons: why frames failed or were dropped, and how many each.
        reconnects: how often the connection was lost and the stream taken up again.
    """

    tracked: int = 0
    failed: int = 0
    dropped: int = 0
    people: int = 0
    ids: set[int] = field(default_factory=set)
    latencies_ms: list[float] = field(default_factory=list)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    reasons: Counter[str] = field(default_factory=Counter)
    reconnects: int = 0
    _first_s: float = 0.0
    _last_s: float = 0.0

    def add(self, result: FrameResult) -> None:
        """Count one result."""
        self._last_s = time.monotonic()
        self._first_s = self._first_s or self._last_s
        if not result.tracked:
            self.failed += result.failed
            self.dropped += result.dropped
            self.reasons[f"{result.reason}: {result.message}" if result.message else result.reason] += 1
            return
        self.tracked += 1
        self.reconnects += result.reconnected is not None
        self.people = len(result.people)
        self.ids.update(person.id for person in result.people)
        self.latencies_ms.append(result.latency_ms)
        for stage, value in result.timings_ms.items():
            self.stages_ms.setdefault(stage, []).append(value)

    @property
    def frames(self) -> int:
        """Frames that were answered for, in whatever way."""
        return self.tracked + self.failed + self.dropped

    @property
    def fps(self) -> float:
        """Frames a second from the first result to the last; NaN before the second."""
        elapsed = self._last_s - self._first_s
        return (self.frames - 1) / elapsed if elapsed > 0 else float("nan")

    def latency_ms(self, percentile: float, last: int | None = None) -> float:
        """A percentile of the latency, of the last few frames or of all; NaN without any."""
        values = [value for value in self.latencies_ms[-(last or 0) :] if value == value]
        return float(np.percentile(values, percentile)) if values else float("nan")

    def summary(self) -> str:
        """One line."""
        parts = [f"{self.tracked} frames tracked"]
        parts += [f"{count} {what}" for count, what in ((self.failed, "failed"), (self.dropped, "dropped")) if count]
        parts.append(f"{len(self.ids)} {'identity' if len(self.ids) == 1 else 'identities'}")
        if self.reconnects:
            parts.append(f"reconnected {self.reconnects} x")
        if self.frames > 1:
            parts.append(f"{self.fps:.1f} fps")
        if self.latencies_ms:
            parts.append(f"latency {self.latency_ms(50):.0f} ms (median), {self.latency_ms(95):.0f} ms (95 %)")
        return ", ".join(parts)

    def complaints(self, most: int = 3) -> list[str]:
        """Why frames have no answer, the most frequent reasons first."""
        lines = [f"{count} x {reason}" for reason, count in self.reasons.most_common(most)]
        if len(self.reasons) > most:
            lines.append(f"and {len(self.reasons) - most} other reasons")
        return lines
