"""Percentiles of times that keep coming."""

from __future__ import annotations

import math
from collections import Counter

__all__ = ["Histogram"]

# Of a bin to the next: what lies in it is at most 1 % from its middle.
_RATIO = 1.02
_LEAST, _MOST = 1e-3, 1e9


class Histogram:
    """Percentiles of times, however many, off by at most 1 %; a stream that runs for a year needs no more room.

    Its bins grow with what they hold. Times, in any unit, count as within 0.001..10^9; NaN does not count.

    Attributes:
        count: how many times were added.
    """

    def __init__(self) -> None:
        self.count = 0
        self._bins: Counter[int] = Counter()

    def add(self, time: float) -> None:
        """Count a time."""
        if math.isnan(time):
            return
        self.count += 1
        self._bins[round(math.log(min(max(time, _LEAST), _MOST), _RATIO))] += 1

    def percentile(self, percent: float) -> float:
        """Between the neighbouring times as numpy's is; NaN without any."""
        if not self.count:
            return math.nan
        rank = percent / 100 * (self.count - 1)
        below = math.floor(rank)
        low, high = self._at(below), self._at(math.ceil(rank))
        return low + (rank - below) * (high - low)

    def _at(self, rank: int) -> float:
        """The time of that rank, from 0."""
        for place in sorted(self._bins):
            rank -= self._bins[place]
            if rank < 0:
                return float(_RATIO**place)
        raise IndexError("a rank beyond the count")
