"""How often a caller may make calls that the rest of the server does not limit: questions, and calls that fail.

Each costs the event loop, which all streams share, about as much as a frame. A call that waits unread costs hardly
anything, and HTTP/2's limit on concurrent calls holds its client back.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from enum import StrEnum

from posewire_server.admission.places import Places
from posewire_server.admission.rates import RateLimit, RateLimits
from posewire_server.config import LimitsConfig
from posewire_server.errors import LimitReached
from posewire_server.wire.peers import host_of

__all__ = ["CallKind", "CallRates"]

# A site that connects asks for each of its cameras, a script about everything that there is.
_BURST_S = 5.0
# Of each connection, for probes: they may come from the host that a flood seems to come from, behind a translated
# address, and a server that does not answer them in time is killed.
_PROBES_PER_S = 1.0
_PROBES_AT_ONCE = 5
# Then a call is refused: its client should learn why it waits. Not earlier: it might call again at once.
_MOST_WAIT_S = 5.0
# Pictures that find no place are no failures: a client that always has more of them in progress than there are places
# must not be slower for it. They wait longer if there are more each second than this many for each place.
_WITHOUT_PLACE_S = 0.5
_WITHOUT_PLACE_PER_S = 8


class CallKind(StrEnum):
    """Calls that are counted together. So a flood of questions does not hold up the streams of its host."""

    QUESTION = "question"
    PICTURE = "picture"
    OPENING = "opening"
    UNAUTHENTICATED = "unauthenticated"


class CallRates:
    """Delays the calls of callers that ask too often, or make too many calls that fail. Others do not wait.

    Callers are identified by token or, without tokens, by host.

    Args:
        limits: `max_queries_per_s`, and the numbers of concurrent streams and pictures.
        places: tell when the server drains, since then no call waits.
        clock: seconds; a test's own.
    """

    def __init__(self, limits: LimitsConfig, places: Places, clock: Callable[[], float] = time.monotonic) -> None:
        self._places = places
        self._per_s = limits.max_queries_per_s
        # Those that succeed are counted meanwhile, and must not wait for each other.
        at_once = limits.max_streams + limits.max_pictures
        self._rates = RateLimits(self._per_s, clock, burst=_BURST_S * self._per_s + at_once)
        refused_per_s = float(_WITHOUT_PLACE_PER_S * limits.max_pictures)
        self._without_place = RateLimits(refused_per_s, clock, burst=refused_per_s)
        self._probes = RateLimits(_PROBES_PER_S, clock, burst=_PROBES_AT_ONCE)

    async def turn(self, kind: CallKind, who: str) -> RateLimit:
        """Wait until `who` may make one more call of this kind, and count it.

        Returns:
            What it was counted in: give it back there if the call succeeds and successes are limited otherwise.

        Raises:
            LimitReached: it has waited too long.
            ServerDraining: it would have to wait, but the server is about to stop.
        """
        rate = self._rates.of(f"{kind} {who}")
        if rate.wait_s > _MOST_WAIT_S:
            await self._places.unless_draining(asyncio.sleep(_MOST_WAIT_S))
            raise LimitReached(
                f"your token or host asks too often, or makes too many calls that fail: more than {self._per_s:g} a "
                "second (limits.max_queries_per_s); ask less often, and correct the calls that fail"
            )
        with rate.reserved() as wait_s:
            if wait_s > 0:
                await self._places.unless_draining(asyncio.sleep(wait_s))
        return rate

    async def without_place(self, who: str) -> None:
        """Wait before a picture of `who` is refused for want of a place: its client may send it again at once.

        Raises:
            ServerDraining: the server is about to stop.
        """
        rate = self._without_place.of(who)
        wait_s = _MOST_WAIT_S if rate.wait_s > _MOST_WAIT_S else max(_WITHOUT_PLACE_S, rate.reserve())
        await self._places.unless_draining(asyncio.sleep(wait_s))

    async def probe(self, connection: str) -> None:
        """Like a question from the host of a connection, but a few on each connection neither wait nor count.

        Args:
            connection: in gRPC's form: `ipv4:HOST:PORT`.
        """
        if not self._probes.of(connection).take():
            await self.turn(CallKind.QUESTION, host_of(connection))
