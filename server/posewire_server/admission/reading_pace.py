"""How fast the requests of one stream are read.

If the server does not read, HTTP/2's flow control holds the client back, at no cost to the server or other streams. So
a client that sends too much, sends nothing that can be decoded, or never reads its responses, costs nothing more.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable

from posewire_server.admission.rates import RateLimit
from posewire_server.streams.outbox import Outbox

__all__ = ["ReadingPace"]

# One second of pictures, ten seconds of video: joined between two key frames, it shows nothing until the next one.
_BAD_PICTURES_IN_A_ROW = 30
_BAD_UNITS_IN_A_ROW = 300
_PAUSE_AFTER_BAD_S = 0.1
# Some bad pictures take as long to decode as good ones, so their stream gets a tenth of one thread.
_PAUSE_BY_TIME_DECODED, _LONGEST_PAUSE_S = 9.0, 5.0


class ReadingPace:
    """Makes the reader of a stream wait if its client asks too much.

    Args:
        outbox: of the stream.
        most_per_s: maximum frames per second; infinity: unlimited.
        most_now_per_s: returns the current maximum, likewise.
        is_video: whether frames build on earlier ones.
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
        self._pause_s = _PAUSE_AFTER_BAD_S

    async def turn(self) -> None:
        """Wait until the next frame may be received."""
        if self._rate is not None and (wait_s := self._rate.reserve()) > 0:
            await asyncio.sleep(wait_s)
        if (wait_s := self._read_s + 1 / self._most_now_per_s() - time.monotonic()) > 0:
            await asyncio.sleep(wait_s)
        self._read_s = time.monotonic()
        if self._bad_in_a_row >= self._most_bad:
            await asyncio.sleep(self._pause_s)
        await self._outbox.caught_up()

    def note(self, *, good: bool, decoded_s: float = 0.0) -> None:
        """Note whether a frame gave a picture, and how long it was decoded."""
        self._bad_in_a_row = 0 if good else self._bad_in_a_row + 1
        self._pause_s = min(max(_PAUSE_AFTER_BAD_S, _PAUSE_BY_TIME_DECODED * decoded_s), _LONGEST_PAUSE_S)
