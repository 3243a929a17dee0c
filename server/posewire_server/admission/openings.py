"""How often somebody may open streams: to open one costs the server about as much as a frame."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from posewire_server.admission.rates import RateLimit
from posewire_server.admission.tokens import Caller
from posewire_server.config import LimitsConfig
from posewire_server.errors import LimitReached
from posewire_server.wire.peers import host_of

__all__ = ["Openings"]

# Who would have to wait longer is refused: what waits takes room.
_MOST_WAIT_S = 5.0


class Openings:
    """Makes those wait who open streams in a loop, and never those who open all that they may have at once.

    They are told apart by their tokens or, without tokens, by their hosts.

    Args:
        limits: `max_streams` at once, then `max_openings_per_s`.
        clock: seconds; a test's own.
    """

    def __init__(self, limits: LimitsConfig, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._burst = limits.max_openings_per_s, float(limits.max_streams)
        self._clock = clock
        self._rates: dict[str, RateLimit] = {}

    def __len__(self) -> int:
        """Of how many tokens and hosts anything is remembered."""
        return len(self._rates)

    async def turn(self, caller: Caller, peer: str) -> None:
        """Wait until `caller` may open one more stream.

        Args:
            caller: whose it is.
            peer: where the call comes from, as gRPC puts it: `ipv4:HOST:PORT`.

        Raises:
            LimitReached: too many streams of theirs are waiting already.
        """
        rate = self._rate(f"token:{caller.name}" if caller.name else host_of(peer))
        if rate.wait_s > _MOST_WAIT_S:
            raise LimitReached(
                f"streams are opened too often: more than {self._per_s:g} a second (limits.max_openings_per_s); keep "
                "them open, or wait longer before you open one again"
            )
        if (wait_s := rate.reserve()) > 0:
            await asyncio.sleep(wait_s)

    def _rate(self, who: str) -> RateLimit:
        rate = self._rates.get(who)
        if rate is None:
            # Those who have not opened any for a while are as good as unknown; looked for before there is one more.
            self._rates = {key: each for key, each in self._rates.items() if not each.is_rested}
            rate = self._rates[who] = RateLimit(self._per_s, self._clock, burst=self._burst)
        return rate
