"""When each frame is due."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Schedule"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Streams at a steady rate, their frames spread evenly over the interval.

    Stream `i` of `n` has its frame `k` at `(k + i / n) / fps` seconds after the start: all streams together are one
    even flow of `n * fps` frames a second, and no two frames are due at the same time.

    Attributes:
        streams: how many.
        fps: frames a second of each.
        seconds: how long frames become due.
    """

    streams: int
    fps: float
    seconds: float

    def due_s(self, stream: int, number: int) -> float:
        """When frame `number` (from 0) of `stream` (from 0) is due, seconds after the start."""
        return (number + stream / self.streams) / self.fps

    def frames(self, stream: int) -> int:
        """How many frames of `stream` are due before the end."""
        count = max(0, math.ceil(self.seconds * self.fps - stream / self.streams))
        # Rounding may put the last one at the very end, or leave it out just before.
        while count and self.due_s(stream, count - 1) >= self.seconds:
            count -= 1
        while self.due_s(stream, count) < self.seconds:
            count += 1
        return count

    def share(self, part: int, of: int) -> range:
        """The streams that process `part` (from 0) of `of` sends: every `of`-th, so that its own are spread as well."""
        return range(part, self.streams, of)
