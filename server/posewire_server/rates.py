"""How many a second somebody may send, or open."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["RateLimit"]


class RateLimit:
    """Lets so many through a second, and more than one at once after a pause.

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

    @property
    def wait_s(self) -> float:
        """The seconds that the next one would have to wait."""
        self._refill()
        return max(0.0, (1.0 - self._left) / self.per_s)

    @property
    def is_rested(self) -> bool:
        """Whether the pause has been long enough for all that it can give."""
        self._refill()
        return self._left >= self._burst

    def _refill(self) -> None:
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._then) * self.per_s)
        self._then = now
