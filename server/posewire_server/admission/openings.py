"""How often a caller may open streams: opening one costs the server about as much as a frame."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from posewire_server.admission.rates import RateLimits
from posewire_server.config import LimitsConfig
from posewire_server.errors import LimitReached

__all__ = ["Openings"]

# Callers that would have to wait longer are refused, since waiting calls take memory.
_MOST_WAIT_S = 5.0


class Openings:
    """Delays callers that open streams in a loop, but not those that open all their allowed streams at once.

    Callers are identified by token or, without tokens, by host.

    Args:
        limits: `max_streams` at once, then `max_openings_per_s`.
        clock: seconds; a test's own.
    """

    def __init__(self, limits: LimitsConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s = limits.max_openings_per_s
        self._rates = RateLimits(self._per_s, clock, burst=float(limits.max_streams))

    def __len__(self) -> int:
        """Number of tokens and hosts that are remembered."""
        return len(self._rates)

    async def turn(self, who: str) -> None:
        """Wait until `who` may open one more stream.

        Args:
            who: the caller, see `caller_key`.

        Raises:
            LimitReached: the wait would be too long.
        """
        rate = self._rates.of(who)
        if rate.wait_s > _MOST_WAIT_S:
            raise LimitReached(
                f"streams are opened too often: more than {self._per_s:g} a second (limits.max_openings_per_s); keep "
                "them open, or wait longer before you open one again"
            )
        with rate.reserved() as wait_s:
            if wait_s > 0:
                await asyncio.sleep(wait_s)
