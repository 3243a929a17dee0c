"""Limits on concurrent streams and pictures."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeVar

from posewire_server.admission.tokens import Caller
from posewire_server.config import LimitsConfig
from posewire_server.counting import counted
from posewire_server.drain import DrainSignal
from posewire_server.errors import LimitReached, ServerDraining
from posewire_server.first_of import first_of

__all__ = ["Places"]

Result = TypeVar("Result")

# How many more streams than may be open may await their configuration: in all, and for one token with a limit.
_MORE_OPENING = 64
_MORE_OPENING_OF_ONE = 8
# How long a cancelled stream may take to end.
_ENDING_S = 0.5


class Places:
    """Counts streams and pictures in progress, and refuses those beyond the limits or after draining has begun.

    Args:
        limits: numbers of concurrent streams and pictures.
        drain: once it is set, nothing new is accepted.

    Attributes:
        streams: number of open streams.
        pictures: number of pictures in progress.
    """

    def __init__(self, limits: LimitsConfig, drain: DrainSignal) -> None:
        self._limits = limits
        self._drain = drain
        self._opening: Counter[str] = Counter()
        self._streams_of_callers: Counter[str] = Counter()
        self._pictures_of_callers: Counter[str] = Counter()
        self._waiting: Counter[str] = Counter()
        self._stream_ended = asyncio.Event()  # another one after each end
        self.streams = 0
        self.pictures = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_until_idle(self) -> None:
        """Return when no stream is open and no picture in progress."""
        await self._idle.wait()

    @contextmanager
    def opening(self, caller: Caller) -> Iterator[None]:
        """Hold a place while the configuration of a stream of `caller` is awaited.

        The stream takes its own place only afterwards: a refusal that overtakes the configuration would reach the
        client as a broken call. One token cannot take all of these places.

        Raises:
            LimitReached: too many streams await their configurations.
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

    def why_full(self, caller: Caller) -> str:
        """Why there is no place for another stream; empty if there is one."""
        if self.streams >= self._limits.max_streams:
            return (
                f"this server has no place for another stream: its limit is {self._limits.max_streams} "
                "(limits.max_streams); close a stream, try later, or use another server"
            )
        allowed = caller.grant.streams
        if allowed and self._streams_of_callers[caller.name] >= allowed:
            return f"this token has no place for another stream: its limit is streams={allowed}; close a stream first"
        return ""

    async def cancelled_streams(self, caller: Caller) -> None:
        """If there is no place for another stream of `caller`, wait for the end of those that it may have cancelled.

        A call may overtake the end of the one before it.

        Raises:
            ServerDraining: the server is about to stop.
        """
        if self._waiting[caller.name] >= self._streams_of_callers[caller.name]:
            return
        with counted(self._waiting, caller.name), suppress(TimeoutError):
            async with asyncio.timeout(_ENDING_S):
                while self.why_full(caller):
                    await self.unless_draining(self._stream_ended.wait())

    @contextmanager
    def for_stream(self, caller: Caller) -> Iterator[None]:
        """Hold a place while a stream of `caller` is open. Raises `LimitReached` or `ServerDraining`."""
        self.refuse_when_draining()
        if why := self.why_full(caller):
            raise LimitReached(why)
        self.streams += 1
        self._note_work()
        try:
            with counted(self._streams_of_callers, caller.name):
                yield
        finally:
            self.streams -= 1
            self._note_work()
            self._stream_ended.set()
            self._stream_ended = asyncio.Event()

    @contextmanager
    def for_picture(self, caller: Caller) -> Iterator[None]:
        """Hold a place while a single picture of `caller` is awaited and processed; at most half of them for one token.

        Raises:
            LimitReached: too many pictures are in progress.
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
        """The result of `work`. `ServerDraining` is raised as soon as the server is about to stop."""
        working = asyncio.ensure_future(work)
        await first_of(working, self._drain.wait())
        self.refuse_when_draining()
        return working.result()

    def refuse_when_draining(self) -> None:
        """Raise `ServerDraining` if the server is about to stop."""
        if self._drain:
            raise ServerDraining("this server is about to stop; use another one, or try again when it is back")

    def _note_work(self) -> None:
        if self.streams or self.pictures:
            self._idle.clear()
        else:
            self._idle.set()
