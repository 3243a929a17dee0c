"""Asynchronous iterables of the program, read by the thread of a source."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, Iterable
from concurrent.futures import CancelledError, Future
from typing import Generic, TypeVar

from posewire.errors import InvalidSettings

__all__ = ["AwaitedItems", "is_asynchronous"]

T = TypeVar("T")


def is_asynchronous(source: object) -> bool:
    """Whether it can only be iterated over with `async for`."""
    return isinstance(source, AsyncIterable) and not isinstance(source, Iterable)


class AwaitedItems(Generic[T]):
    """The items of an asynchronous iterable, for a thread: each is awaited in the event loop in which this is made.

    Raises:
        InvalidSettings: made outside of an event loop.
        CancelledError: while iterating: whatever the iterable waited for was cancelled.
    """

    def __init__(self, items: AsyncIterable[T]):
        try:
            self._loop = asyncio.get_running_loop()
        except RuntimeError:
            raise InvalidSettings(
                f"{type(items).__name__} is an asynchronous iterable, which needs its event loop: open it in a"
                " coroutine, for a posewire.AsyncClient"
            ) from None
        self._items = aiter(items)
        self._awaited: Future[tuple[T, ...]] | None = None
        self._interrupted = False
        self._lock = threading.Lock()

    def __iter__(self) -> AwaitedItems[T]:
        return self

    def __next__(self) -> T:
        """The next item. Must be called in another thread than the event loop's."""
        with self._lock:
            if self._interrupted:
                raise StopIteration
            coming = self._next()
            try:
                self._awaited = asyncio.run_coroutine_threadsafe(coming, self._loop)
            except RuntimeError:  # the loop is closed
                coming.close()
                raise StopIteration from None
        try:
            item = self._awaited.result()
        except CancelledError:
            if self._interrupted:
                raise StopIteration from None
            raise asyncio.CancelledError from None
        if not item:
            raise StopIteration
        return item[0]

    def interrupt(self) -> None:
        """End the iteration: what the iterable is waiting for is cancelled, and its thread goes on at once."""
        with self._lock:
            self._interrupted = True
            if self._awaited is not None and not self._loop.is_closed():
                self._awaited.cancel()

    async def _next(self) -> tuple[T, ...]:
        """The next item alone, or nothing after the last."""
        try:
            return (await anext(self._items),)
        except StopAsyncIteration:
            return ()
