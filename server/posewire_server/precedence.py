"""Who goes first when streams want more than there is: those that ask for no more than they get.

A stream that sends far more frames than can be worked off - a flood, or a file that is read as fast as it goes - always
has one waiting, and would meet every frame of every camera on its way. So it lets them pass: before each of its stages
it waits while a frame of a modest stream is in work, though per frame no longer than its last one took. It still gets
all that is left, and never less than half of what it would get otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from posewire_server.outbox import Accounts

__all__ = ["Precedence", "Standing", "at_once"]

# How long a stream is watched before it is judged.
_WINDOW_S = 1.0
# A stream asks too much when for each frame that it gets more than so many find no room.
_EXCESS_A_FRAME = 0.5


async def at_once() -> None:
    """The turn of whoever need not wait."""


class Precedence:
    """Knows the streams of a server."""

    def __init__(self) -> None:
        self._standings: set[Standing] = set()
        self._frame_done = asyncio.Event()

    def join(
        self, accounts: Accounts, excess: Callable[[], int], clock: Callable[[], float] = time.monotonic
    ) -> Standing:
        """The standing of a stream that was opened.

        Args:
            accounts: of the stream.
            excess: how many of its frames have found no room so far.
            clock: seconds; a test's own.
        """
        standing = Standing(self, accounts, excess, clock)
        self._standings.add(standing)
        return standing

    def leave(self, standing: Standing) -> None:
        """Its stream was closed."""
        self._standings.discard(standing)
        self.note_frame_done()

    def note_frame_done(self) -> None:
        """Some stream has finished a frame."""
        self._frame_done.set()

    async def wait_for_modest(self, at_most_s: float) -> None:
        """Return when no frame of a stream that does not ask too much is in work."""
        try:
            async with asyncio.timeout(at_most_s):
                while any(each.accounts.open and not each.greedy for each in self._standings):
                    self._frame_done.clear()
                    await self._frame_done.wait()
        except TimeoutError:
            return


class Standing:
    """That of one stream; see `Precedence.join`.

    Attributes:
        accounts: of the stream.
        greedy: whether it has lately asked for far more than it got.
    """

    def __init__(
        self, precedence: Precedence, accounts: Accounts, excess: Callable[[], int], clock: Callable[[], float]
    ) -> None:
        self.accounts = accounts
        self.greedy = False
        self._precedence = precedence
        self._excess = excess
        self._clock = clock
        self._window = (clock(), 0, 0)  # since when, frames tracked and in excess until then
        self._patience_s = 0.0

    async def turn(self) -> None:
        """Wait, if others go first; to be called before each stage of a frame."""
        if self.greedy and self._patience_s > 0:
            began_s = self._clock()
            await self._precedence.wait_for_modest(self._patience_s)
            self._patience_s -= self._clock() - began_s

    def frame_done(self, work_s: float) -> None:
        """A frame has left, for which the stages worked for so many seconds."""
        self._patience_s = work_s
        now, (since, tracked, excess) = self._clock(), self._window
        if now - since >= _WINDOW_S:
            self._window = now, self.accounts.tracked, self._excess()
            got, too_many = self._window[1] - tracked, self._window[2] - excess
            self.greedy = too_many > _EXCESS_A_FRAME * max(1, got)
        self._precedence.note_frame_done()
