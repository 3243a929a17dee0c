"""How fast the requests of one stream are read.

Whoever is not read is held back by HTTP/2's flow control, at no cost to the server or to other streams. So this is
where a client that sends without end, sends nothing that can be decoded, or never reads what it is told, ceases to cost
anything.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from posewire_server.admission.rates import RateLimit
from posewire_server.streams.outbox import Outbox

__all__ = ["ReadingPace"]

# One second of a camera, and ten of a video: one that was joined between two key frames shows nothing until the next.
_BAD_PICTURES_IN_A_ROW = 30
_BAD_UNITS_IN_A_ROW = 300
_PAUSE_AFTER_BAD_S = 0.1


class ReadingPace:
    """Makes the reader of a stream wait where its client asks too much.

    Args:
        outbox: of the stream.
        most_per_s: frames a second; infinity: as many as come.
        most_now_per_s: likewise, as things stand at the moment.
        is_video: whether a frame builds on those before it.
    """

    def __init__(
        self,
        outbox: Outbox,
        most_per_s: float,
        *,
        is_video: bool,
        most_now_per_s: Callable[[], float],
    ) -> None:
        self._outbox = outbox
        self._most_bad = _BAD_UNITS_IN_A_ROW if is_video else _BAD_PICTURES_IN_A_ROW
        self._rate = RateLimit(most_per_s) if math.isfinite(most_per_s) else None
        self._most_now_per_s = most_now_per_s
        self._read_s = -math.inf
        self._bad_in_a_row = 0

    async def turn(self) -> None:
        """Wait until the next frame may be received."""
        if self._rate is not None and (wait_s := self._rate.reserve()) > 0:
            await asyncio.sleep(wait_s)
        if (wait_s := self._read_s + 1 / self._most_now_per_s() - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        self._read_s = time.monotonic()
        if self._bad_in_a_row >= self._most_bad:
            await asyncio.sleep(_PAUSE_AFTER_BAD_S)
        await self._outbox.caught_up()

    def note(self, *, good: bool) -> None:
        """What came out of a frame: a picture, or nothing."""
        self._bad_in_a_row = 0 if good else self._bad_in_a_row + 1
