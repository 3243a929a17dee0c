"""How many a second somebody may send, or open."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

__all__ = ["RateLimit"]

_LONGEST_WITHOUT_TURN_S = 1.0


class RateLimit:
    """A token bucket: `per_s` a second in the long run, up to `burst` at once after a pause.

    Args:
        per_s: above 0.
        clock: seconds; a test's own.
        burst: how many at once; None: a second's worth.
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
        """Count one more in any case; the seconds that it has to wait for its turn."""
        self._refill()
        self._left -= 1.0
        return max(0.0, -self._left / self.per_s)

    async def turn(self) -> None:
        """Wait until one more may pass, and count it.

        Those who wait pass in order, and leave one for callers of `take`, who cannot wait. Where those take every one,
        somebody who waits passes after a second all the same.
        """
        async with self._waiting:
            began_s, left_over = self._clock(), min(1.0, self._burst - 1.0)
            while (wait_s := self._wait_s(1.0 + left_over)) > 0:
                await asyncio.sleep(min(wait_s, _LONGEST_WITHOUT_TURN_S))  # others may take some meanwhile
                if self._clock() - began_s >= _LONGEST_WITHOUT_TURN_S:
                    left_over = 0.0
            self._left -= 1.0

    @property
    def wait_s(self) -> float:
        """The seconds that the next one would have to wait."""
        return self._wait_s(1.0)

    @property
    def is_rested(self) -> bool:
        """Whether the pause has been long enough for all that it can give."""
        self._refill()
        return self._left >= self._burst

    def _wait_s(self, wanted: float) -> float:
        """The seconds until so many are left."""
        self._refill()
        return max(0.0, (wanted - self._left) / self.per_s)

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._then) * self.per_s)
        self._then = now
