"""Shares of the decoding threads: no caller takes all of them while others need some.

Decoding cannot be interrupted, and a large picture may take a hundred times as long as that of a camera. Callers are
identified by token or, without tokens, by host.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from posewire_server.counting import counted
from posewire_server.workers import Workers

__all__ = ["DecodingShare", "DecodingShares"]

Result = TypeVar("Result")


class DecodingShares:
    """Divides the decoding threads between callers.

    While several callers are here, each leaves one thread to the others; if there is only one, their frames take turns.

    Args:
        threads: the decoding threads.
        count: their number.
    """

    def __init__(self, threads: Workers, count: int) -> None:
        self.threads = threads
        self._own = max(1, count - 1)
        self._callers: Counter[str] = Counter()
        self._decoding: Counter[str] = Counter()
        self._waiting: dict[str, deque[asyncio.Future[None]]] = {}

    @contextmanager
    def of(self, who: str) -> Iterator[DecodingShare]:
        """The share of `who`, who is here during the block."""
        try:
            with counted(self._callers, who):
                yield DecodingShare(self, who)
        finally:
            self._admit()

    @asynccontextmanager
    async def turn(self, who: str) -> AsyncIterator[None]:
        """Wait until `who` may decode one more frame, and decode it in the block."""
        turn = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(who, deque()).append(turn)
        self._admit()
        try:
            await turn
            yield
        finally:
            if not turn.cancelled():
                self._decoding[who] -= 1
                if not self._decoding[who]:
                    del self._decoding[who]
            self._admit()

    def _admit(self) -> None:
        most = self._own if len(self._callers) > 1 else math.inf
        for who, waiting in list(self._waiting.items()):
            while waiting and (waiting[0].done() or self._decoding[who] < most):
                turn = waiting.popleft()
                if not turn.done():
                    self._decoding[who] += 1
                    turn.set_result(None)
            if not waiting:
                del self._waiting[who]


class DecodingShare:
    """The decoding threads, as one caller may use them."""

    def __init__(self, shares: DecodingShares, who: str) -> None:
        self._shares = shares
        self._who = who

    async def run_to_end(self, work: Callable[[], Result]) -> Result:
        """See `Workers.run_to_end`."""
        async with self._shares.turn(self._who):
            return await self._shares.threads.run_to_end(work)
