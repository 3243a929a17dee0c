"""A bounded queue between two stages of a stream, with a drop policy."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Generic, Protocol, TypeVar

__all__ = ["DropPolicy", "DropReason", "Inbox", "Waiting"]


class DropPolicy(StrEnum):
    """What happens when items arrive faster than they are taken."""

    LATEST = "latest"
    ALL = "all"


class DropReason(StrEnum):
    """Why an item was dropped."""

    SUPERSEDED = "superseded"
    TOO_OLD = "too-old"
    DRAINING = "draining"
    OVER_RATE = "over-rate"


class Waiting(Protocol):
    """What an inbox holds."""

    @property
    def arrived_s(self) -> float:
        """When it arrived at the server, on the clock of `time.monotonic`."""
        ...


Item = TypeVar("Item", bound=Waiting)


class Inbox(Generic[Item]):
    """A bounded queue with one producer and one consumer, both on one event loop.

    Every item that is put in either comes out of `get` or is passed to `on_drop`, exactly once.

    Args:
        capacity: maximum number of waiting items.
        policy: when the queue is full, LATEST drops the oldest item, ALL makes `put` wait.
        on_drop: called with every dropped item and the reason.
        max_age_s: an item that is older when its turn comes is dropped.
        can_start: whether a reader that has missed items can continue with this one, as with a key frame of a video. If
            given, LATEST drops all waiting items when the queue is full, and all further ones until one that can start.
        is_full: whether LATEST has no room for a newcomer beside those that wait; None: if these are `capacity`.
        clock: in seconds; replaced in tests.

    Attributes:
        held_back: under ALL, how many items arrived while others were waiting, that is, sooner than needed.
    """

    def __init__(
        self,
        *,
        capacity: int,
        policy: DropPolicy,
        on_drop: Callable[[Item, DropReason], None],
        max_age_s: float | None = None,
        can_start: Callable[[Item], bool] | None = None,
        is_full: Callable[[Sequence[Item], Item], bool] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._capacity = capacity
        self._policy = policy
        self._on_drop = on_drop
        self._max_age_s = max_age_s
        self._can_start = can_start
        self._is_full = is_full or (lambda waiting, newcomer: len(waiting) >= capacity)
        self._clock = clock
        self._items: deque[Item] = deque()
        self._room, self._news = asyncio.Event(), asyncio.Event()  # what the producer and the consumer wait for
        self._closed = False
        self._draining = False
        self._skipping = False  # until an item that can start
        self.held_back = 0

    def __len__(self) -> int:
        return len(self._items)

    async def put(self, item: Item) -> None:
        """Add an item; under ALL, wait until there is room."""
        self.held_back += self._policy is DropPolicy.ALL and len(self._items) > 0
        await self.until_room()
        if self._draining:
            self._on_drop(item, DropReason.DRAINING)
            return
        if self._is_full(self._items, item):
            self._make_room()
        if self._skipping and self._can_start is not None and not self._can_start(item):
            self._on_drop(item, DropReason.SUPERSEDED)
            return
        self._skipping = False
        self._items.append(item)
        self._news.set()

    async def until_room(self) -> None:
        """Under ALL, wait until there is room for one more."""
        while self._policy is DropPolicy.ALL and len(self._items) >= self._capacity:
            self._room.clear()
            await self._room.wait()

    async def get(self) -> Item | None:
        """The next item that is not too old; None after the last one."""
        while True:
            while not (self._items or self._closed or self._draining):
                self._news.clear()
                await self._news.wait()
            if not self._items:
                return None
            item = self._items.popleft()
            self._room.set()
            if self._max_age_s is None or self._clock() - item.arrived_s <= self._max_age_s:
                return item
            self._on_drop(item, DropReason.TOO_OLD)

    def close(self) -> None:
        """No more items will be put in; waiting items still come out."""
        self._closed = True
        self._news.set()

    def drain(self) -> None:
        """Drop waiting items and all that are still put in; `get` returns None from now on."""
        self._draining = True
        self._drop_waiting(DropReason.DRAINING)
        self._news.set()
        self._room.set()

    def _make_room(self) -> None:
        if self._can_start is None:
            self._on_drop(self._items.popleft(), DropReason.SUPERSEDED)
        else:
            self._drop_waiting(DropReason.SUPERSEDED)
            self._skipping = True

    def _drop_waiting(self, reason: DropReason) -> None:
        while self._items:
            self._on_drop(self._items.popleft(), reason)
