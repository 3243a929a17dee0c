"""When each frame is due."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["Schedule"]


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """Streams at a steady rate, their frames spread evenly over the frame interval.

    Frame `k` of stream `i` of `n` is due `(k + i / n) / fps` seconds after the start: all streams together are an even
    sequence of `n * fps` frames per second, and no two frames are due at the same time.

    Attributes:
        streams: number of streams.
        fps: frames per second of each.
        seconds: how long frames become due.
    """

    streams: int
    fps: float
    seconds: float

    def due_s(self, stream: int, number: int) -> float:
        """When frame `number` (from 0) of `stream` (from 0) is due, seconds after the start."""
        return (number + stream / self.streams) / self.fps

    def frames(self, stream: int) -> int:
        """Number of frames of `stream` that are due before the end."""
        count = max(0, math.ceil(self.seconds * self.fps - stream / self.streams))
        # Rounding may move the last one to the very end, or drop it just before.
        while count and self.due_s(stream, count - 1) >= self.seconds:
            count -= 1
        while self.due_s(stream, count) < self.seconds:
            count += 1
        return count

    def share(self, part: int, of: int) -> range:
        """The streams that process `part` (from 0) of `of` sends: every `of`-th, so that these are spread out too."""
        return range(part, self.streams, of)
