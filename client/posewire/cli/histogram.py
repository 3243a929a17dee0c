"""Percentiles of an endless series of times."""

from __future__ import annotations

import math
from collections import Counter

__all__ = ["Histogram"]

# Ratio of neighbouring bins: values in a bin differ from its middle by at most 1 %.
_RATIO = 1.02
_LEAST, _MOST = 1e-3, 1e9


class Histogram:
    """Percentiles of any number of times, accurate to 1 %, in bounded memory even if a stream runs for a year.

    The width of a bin is proportional to its value. Times, in any unit, are clipped to 0.001..10^9; NaN is ignored.

    Attributes:
        count: number of times added.
    """

    def __init__(self) -> None:
        self.count = 0
        self._bins: Counter[int] = Counter()

    def add(self, time: float) -> None:
        """Add a time."""
        if math.isnan(time):
            return
        self.count += 1
        self._bins[round(math.log(min(max(time, _LEAST), _MOST), _RATIO))] += 1

    def percentile(self, percent: float) -> float:
        """The percentile, interpolated as in numpy; NaN without any times."""
        if not self.count:
            return math.nan
        rank = percent / 100 * (self.count - 1)
        below = math.floor(rank)
        low, high = self._at(below), self._at(math.ceil(rank))
        return low + (rank - below) * (high - low)

    def _at(self, rank: int) -> float:
        """The time of a rank, counted from 0."""
        for place in sorted(self._bins):
            rank -= self._bins[place]
            if rank < 0:
                return float(_RATIO**place)
        raise IndexError("a rank beyond the count")
