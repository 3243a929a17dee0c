"""Limits on how many frames per second a caller may send, streams it may open, or calls it may make."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["RateLimit", "RateLimits"]

_LONGEST_WITHOUT_TURN_S = 1.0


class RateLimit:
    """A token bucket: `per_s` per second in the long run, up to `burst` at once after a pause.

    Args:
        per_s: above 0.
        clock: seconds; a test's own.
        burst: how many at once; None: one second's worth.
    """

    def __init__(
        self, per_s: float, clock: Callable[[], float] = time.monotonic, *, burst: float | None = None
    ) -> None:
        self.per_s = per_s
        self._clock = clock
        self._burst = max(1.0, per_s if burst is None else burst)
        self._left = self._burst
        self._then = clock()
        self._waiting = asyncio.Lock()

    def take(self) -> bool:
        """Whether one more may pass now; if so, it is counted."""
        self._refill()
        if self._left < 1.0:
            return False
        self._left -= 1.0
        return True

    def reserve(self) -> float:
        """Count one more in any case. Returns the seconds that it has to wait for its turn."""
        self._refill()
        self._left -= 1.0
        return max(0.0, -self._left / self.per_s)

    @contextmanager
    def reserved(self) -> Iterator[float]:
        """Count one more, which waits inside for as many seconds as the context has, see `reserve`.

        Those that go away while they wait do not count. Else the wait would become longer than the deadline of the next
        ones, and none would ever pass.
        """
        wait_s = self.reserve()
        try:
            yield wait_s
        except BaseException:
            self.give_back()
            raise

    def give_back(self) -> None:
        """Uncount one that was reserved."""
        self._refill()
        self._left = min(self._burst, self._left + 1.0)

    async def turn(self) -> None:
        """Wait until one more may pass, and count it.

        Waiting callers pass in order, and leave one for callers of `take`, which cannot wait. Even if those take every
        one, the first waiting caller passes after a second.
        """
        async with self._waiting:
            began_s, left_over = self._clock(), min(1.0, self._burst - 1.0)
            while (wait_s := self._wait_s(1.0 + left_over)) > 0:
                await asyncio.sleep(min(wait_s, _LONGEST_WITHOUT_TURN_S))  # `take` may be called meanwhile
                if self._clock() - began_s >= _LONGEST_WITHOUT_TURN_S:
                    left_over = 0.0
            self._left -= 1.0

    @property
    def wait_s(self) -> float:
        """The seconds that the next one would have to wait."""
        return self._wait_s(1.0)

    @property
    def is_rested(self) -> bool:
        """Whether the full burst is available again."""
        self._refill()
        return self._left >= self._burst

    def _wait_s(self, wanted: float) -> float:
        """The seconds until `wanted` are available."""
        self._refill()
        return max(0.0, (wanted - self._left) / self.per_s)

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._then) * self.per_s)
        self._then = now


class RateLimits:
    """A `RateLimit` for each caller. Those whose burst is full again are forgotten.

    Args:
        per_s: see `RateLimit`, as the others.
    """

    def __init__(self, per_s: float, clock: Callable[[], float] = time.monotonic, *, burst: float) -> None:
        self._per_s, self._clock, self._burst = per_s, clock, burst
        self._rates: dict[str, RateLimit] = {}
        self._looked_through_at = 0

    def __len__(self) -> int:
        """Number of callers that are remembered."""
        return len(self._rates)

    def of(self, who: str) -> RateLimit:
        """The limit of one caller."""
        rate = self._rates.get(who)
        if rate is None:
            # Before adding one, forget those that need no state; but not each time, since there may be thousands.
            if len(self._rates) >= self._looked_through_at:
                self._rates = {key: each for key, each in self._rates.items() if not each.is_rested}
                self._looked_through_at = 2 * len(self._rates)
            rate = self._rates[who] = RateLimit(self._per_s, self._clock, burst=self._burst)
        return rate
