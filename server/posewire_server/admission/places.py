"""How much the server takes at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from posewire_server.admission.tokens import Caller
from posewire_server.config import LimitsConfig
from posewire_server.counting import counted
from posewire_server.drain import DrainSignal
from posewire_server.errors import LimitReached, ServerDraining

__all__ = ["Places"]

Result = TypeVar("Result")

# Streams that may await their configuration beyond as many as may be open, and those of one token beyond its own.
_MORE_OPENING = 64
_MORE_OPENING_OF_ONE = 8


class Places:
    """Counts what is in work, and refuses what is beyond the limits or comes too late.

    Args:
        limits: streams and pictures at the same time.
        drain: nothing new once it is set.

    Attributes:
        streams: open now.
        pictures: in work now.
    """

    def __init__(self, limits: LimitsConfig, drain: DrainSignal) -> None:
        self._limits = limits
        self._drain = drain
        self._opening: Counter[str] = Counter()
        self._of_callers: Counter[str] = Counter()
        self._pictures_of_callers: Counter[str] = Counter()
        self.streams = 0
        self.pictures = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_until_idle(self) -> None:
        """Return when no stream and no picture is in work."""
        await self._idle.wait()

    @contextmanager
    def opening(self, caller: Caller) -> Iterator[None]:
        """While the configuration of a stream of `caller` is awaited.

        A stream takes its place afterwards: a refusal that overtakes the configuration would reach the client as a
        broken call. Whoever has a token leaves some of the places to others.

        Raises:
            LimitReached: too many streams await theirs.
        """
        all_of_them = self._limits.max_streams + _MORE_OPENING
        own = all_of_them // 2 if caller.name else all_of_them
        if caller.grant.streams:
            own = min(own, caller.grant.streams + _MORE_OPENING_OF_ONE)
        if self._opening[caller.name] >= own:
            raise LimitReached(
                f"the configurations of {own} of your new streams have not arrived; send each stream's configuration "
                "before you open another"
            )
        if self._opening.total() >= all_of_them:
            raise LimitReached(f"{all_of_them} new streams are waiting for their configurations; try again in a moment")
        with counted(self._opening, caller.name):
            yield

    @contextmanager
    def for_stream(self, caller: Caller) -> Iterator[None]:
        """While a stream of `caller` is open. Raises `LimitReached` or `ServerDraining`."""
        self.refuse_when_draining()
        if self.streams >= self._limits.max_streams:
            raise LimitReached(
                f"this server has no place for another stream: its limit is {self._limits.max_streams} "
                "(limits.max_streams); close a stream, try later, or use another server"
            )
        allowed = caller.grant.streams
        if allowed and self._of_callers[caller.name] >= allowed:
            raise LimitReached(
                f"this token has no place for another stream: its limit is streams={allowed}; close a stream first"
            )
        self.streams += 1
        self._note_work()
        try:
            with counted(self._of_callers, caller.name):
                yield
        finally:
            self.streams -= 1
            self._note_work()

    @contextmanager
    def for_picture(self, caller: Caller) -> Iterator[None]:
        """While a single picture of `caller` is awaited and in work; whoever has a token leaves half of the places.

        Raises:
            LimitReached: too many pictures are in work.
            ServerDraining: the server is about to stop.
        """
        self.refuse_when_draining()
        own = max(1, self._limits.max_pictures // 2)
        if caller.name and self._pictures_of_callers[caller.name] >= own:
            raise LimitReached(
                f"this token has no place for another picture: its limit is {own}, half of limits.max_pictures; "
                "wait for an answer before you send the next one"
            )
        if self.pictures >= self._limits.max_pictures:
            raise LimitReached(
                f"this server has no place for another picture: its limit is {self._limits.max_pictures} at a time "
                "(limits.max_pictures); wait for an answer before you send the next one"
            )
        self.pictures += 1
        self._note_work()
        try:
            with counted(self._pictures_of_callers, caller.name):
                yield
        finally:
            self.pictures -= 1
            self._note_work()

    async def unless_draining(self, work: Awaitable[Result]) -> Result:
        """What `work` gives; `ServerDraining` is raised as soon as the server is about to stop."""
        working, draining = asyncio.ensure_future(work), asyncio.ensure_future(self._drain.wait())
        try:
            await asyncio.wait({working, draining}, return_when=asyncio.FIRST_COMPLETED)
            self.refuse_when_draining()
            return working.result()
        finally:
            working.cancel()
            draining.cancel()

    def refuse_when_draining(self) -> None:
        """Raise `ServerDraining` if the server is about to stop."""
        if self._drain:
            raise ServerDraining("this server is about to stop; use another one, or try again when it is back")

    def _note_work(self) -> None:
        if self.streams or self.pictures:
            self._idle.clear()
        else:
            self._idle.set()
