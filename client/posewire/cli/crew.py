"""Many items to process at a server, several at a time, or as many as it admits."""

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
# The server's reason for limits that pass with time or when others finish, unlike, say, a picture that is too large.
_PASSING_LIMIT = "LIMIT_REACHED"


class Crew(Generic[T]):
    """Workers that share a list of items to process.

    If a limit of the server rejects an item, or the server is gone, its worker puts it back and waits, while the others
    continue. Waiting workers try again one at a time: soon while items succeed, at increasing intervals while none
    does. So all of them work again when the server has room for all, and few requests are rejected until then. If all
    of them wait for more than a minute, all remaining items fail.

    Args:
        do: processes one item; called again for an item that was put back.
        failed: called with each item that could not be processed, and the error.
        quiet: do not report that the server is at a limit, or gone.
        reconnects: whether a server that is gone may come back.
    """

    def __init__(
        self,
        do: Callable[[T], Awaitable[object]],
        failed: Callable[[T, Exception], object],
        *,
        quiet: bool,
        reconnects: bool = True,
    ) -> None:
        self._do = do
        self._failed = failed
        self._quiet = quiet
        self._reconnects = reconnects
        self._remaining: deque[T] = deque()
        self._none_remains = asyncio.Event()
        self._at_work = 0
        self._is_lost = False  # the server, since the last success
        self._trying = 0  # those at work that began then
        self._next_to_try = asyncio.Lock()
        self._waits_s = _FIRST_WAIT_S
        self._since_s: float | None = None
        self._said: set[str] = set()

    async def work(self, items: Iterable[T], at_a_time: int) -> None:
        """Process all items; returns when each has succeeded or failed."""
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
                if isinstance(refusal, ConnectionFailed):  # perhaps because of this item: others first
                    self._remaining.append(item)
                else:
                    self._remaining.appendleft(item)
                self._none_remains.clear()
                await self._wait(refusal)

    async def _refusal_of(self, item: T) -> LimitExceeded | ConnectionFailed | None:
        """Process an item; returns the error if it should be tried again later."""
        was_there = not self._is_lost
        self._at_work += 1
        self._trying += not was_there
        try:
            await self._do(item)
        except ConnectionFailed as error:
            if self._reconnects:
                self._is_lost = True
                return error
            self._failed(item, error)
            self._fail_remaining(error)  # all would fail the same way
        except (PosewireError, OSError) as error:
            if isinstance(error, LimitExceeded) and error.reason == _PASSING_LIMIT:
                return error
            self._failed(item, error)
        finally:
            self._at_work -= 1
            self._trying -= not was_there
        self._waits_s, self._since_s, self._is_lost = _FIRST_WAIT_S, None, False
        return None

    async def _wait(self, refusal: LimitExceeded | ConnectionFailed) -> None:
        """Wait until the server may have room again, or fail all remaining items."""
        now_s = asyncio.get_running_loop().time()
        is_lost = isinstance(refusal, ConnectionFailed)
        # If the server is gone, those who have begun since may only not have noticed yet.
        succeeding = self._at_work - (self._trying if is_lost else 0)
        if succeeding:
            self._since_s = None
            if not is_lost:
                self._say(refusal, "going on with fewer at a time")
        elif self._since_s is None:
            self._since_s = now_s
            self._say(refusal, f"trying again, for {_GIVE_UP_AFTER_S:g} s at most")
        elif now_s - self._since_s > _GIVE_UP_AFTER_S:
            self._fail_remaining(refusal)
            return
        async with self._next_to_try:
            wait_s, self._waits_s = self._waits_s, min(2 * self._waits_s, _LONGEST_WAIT_S)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_remains.wait(), wait_s)

    def _fail_remaining(self, error: Exception) -> None:
        while self._remaining:
            self._failed(self._remaining.popleft(), error)
        self._none_remains.set()

    def _say(self, refusal: LimitExceeded | ConnectionFailed, then: str) -> None:
        """Print a message once: a rate limit is hit again and again."""
        if not self._quiet and then not in self._said:
            self._said.add(then)
            say(f"posewire: {refusal}; {then}")
