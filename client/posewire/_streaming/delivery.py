"""Results on their way to the program, and the errors raised instead."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace

from posewire.connection import Reconnected
from posewire.results import FrameResult

__all__ = ["Delivery", "Failure"]


class Delivery:
    """Results that nobody has taken yet, and a way to wait until something has changed."""

    def __init__(self) -> None:
        self._results: deque[FrameResult] = deque()
        self._changed = asyncio.Condition()
        self._news: Reconnected | None = None

    def __len__(self) -> int:
        return len(self._results)

    def announce(self, event: Reconnected) -> None:
        """Attach this to the next tracked result. An event still waiting is replaced, but a restart of ids is kept."""
        if self._news is not None and not self._news.resumed:
            event = replace(event, resumed=False, refusal=self._news.refusal)
        self._news = event

    async def publish(self, results: Iterable[FrameResult]) -> None:
        """Add results, and wake up all waiters."""
        for result in results:
            if self._news is not None and result.tracked:
                result, self._news = replace(result, reconnected=self._news), None
            self._results.append(result)
        await self.notify()

    async def pop(self) -> FrameResult:
        """Take the next result; there must be one."""
        result = self._results.popleft()
        await self.notify()
        return result

    async def notify(self) -> None:
        """Wake up all waiters."""
        async with self._changed:
            self._changed.notify_all()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds; it is checked whenever something has changed."""
        if condition():  # the common case costs nothing
            return
        async with self._changed:
            await self._changed.wait_for(condition)


class Failure:
    """The error that ended the stream, which can be raised several times."""

    def __init__(self, error: BaseException) -> None:
        self._error = error
        self._trace = error.__traceback__

    def again(self) -> BaseException:
        """The error with its original traceback: otherwise it would grow with each raise, and keep images alive."""
        return self._error.with_traceback(self._trace)
