"""Many things to do at a server, several at a time, or as many as it takes."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from posewire.cli.failures import say
from posewire.errors import ConnectionFailed, LimitExceeded, PosewireError

__all__ = ["Crew"]

T = TypeVar("T")

_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.25, 5.0
_GIVE_UP_AFTER_S = 60.0
# The server's word for limits that others, or a second, may free; a picture that is too large will not get smaller.
_PASSING_LIMIT = "LIMIT_REACHED"


class Crew(Generic[T]):
    """Workers that share a list of things to do, here called items.

    One whose item a limit of the server does not admit puts it back and waits, while the others go on. Of those who
    wait, one at a time tries again: soon where items are being done, ever later where none is. So all work again when
    there is room for all, and few requests are refused while there is not. Where all wait, they do so for a minute at
    most: then everything that is left has failed.

    Args:
        do: one item; called again for an item that was put back.
        failed: told of each item that could not be done, and why.
        quiet: do not say that the server is short of room.
    """

    def __init__(
        self, do: Callable[[T], Awaitable[object]], failed: Callable[[T, Exception], object], *, quiet: bool
    ) -> None:
        self._do = do
        self._failed = failed
        self._quiet = quiet
        self._remaining: deque[T] = deque()
        self._none_remains = asyncio.Event()
        self._at_work = 0
        self._next_to_try = asyncio.Lock()
        self._waits_s = _FIRST_WAIT_S
        self._since_s: float | None = None
        self._said: set[str] = set()

    async def work(self, items: Iterable[T], at_a_time: int) -> None:
        """Return when each item was done or has failed.

        Raises:
            ConnectionFailed: nobody answers; the rest would fail the same way.
        """
        self._remaining.extend(items)
        workers = [asyncio.create_task(self._worker()) for _ in range(at_a_time)]
        try:
            await asyncio.gather(*workers)
        finally:
            for worker in workers:
                worker.cancel()
            await asyncio.gather(*workers, return_exceptions=True)

    async def _worker(self) -> None:
        while self._remaining:
            item = self._remaining.popleft()
            if not self._remaining:
                self._none_remains.set()
            if (refusal := await self._refusal_of(item)) is not None:
                self._remaining.appendleft(item)
                self._none_remains.clear()
                await self._wait(refusal)

    async def _refusal_of(self, item: T) -> LimitExceeded | None:
        """Do an item; gives the limit that does not admit it at present."""
        self._at_work += 1
        try:
            await self._do(item)
        except ConnectionFailed:
            raise  # the others would fail the same way
        except (PosewireError, OSError) as error:
            if isinstance(error, LimitExceeded) and error.reason == _PASSING_LIMIT:
                return error
            self._failed(item, error)
        finally:
            self._at_work -= 1
        self._waits_s, self._since_s = _FIRST_WAIT_S, None
        return None

    async def _wait(self, refusal: LimitExceeded) -> None:
        """Let the server come to have room, or fail all that is left."""
        now_s = asyncio.get_running_loop().time()
        if self._at_work:
            self._since_s = None
            self._say(refusal, "going on with fewer at a time")
        elif self._since_s is None:
            self._since_s = now_s
            self._say(refusal, f"trying again, for {_GIVE_UP_AFTER_S:g} s at most")
        elif now_s - self._since_s > _GIVE_UP_AFTER_S:
            while self._remaining:
                self._failed(self._remaining.popleft(), refusal)
            self._none_remains.set()
            return
        async with self._next_to_try:
            wait_s, self._waits_s = self._waits_s, min(2 * self._waits_s, _LONGEST_WAIT_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_remains.wait(), wait_s)

    def _say(self, refusal: LimitExceeded, then: str) -> None:
        """Once: a limit on the rate is met with every other picture."""
        if not self._quiet and then not in self._said:
            self._said.add(then)
            say(f"posewire: {refusal}; {then}")
