"""How much the server takes at the same time."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from posewire_server.config import LimitsConfig
from posewire_server.drain import DrainSignal
from posewire_server.errors import LimitReached, ServerDraining
from posewire_server.tokens import ANYBODY, Caller

__all__ = ["Places"]

# Streams that may await their configuration beyond as many as may be open.
_MORE_OPENING = 64


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
        self._opening = 0
        self._of_callers: Counter[str] = Counter()
        self.streams = 0
        self.pictures = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def wait_until_idle(self) -> None:
        """Return when no stream and no picture is in work."""
        await self._idle.wait()

    @contextmanager
    def opening(self) -> Iterator[None]:
        """While a stream's configuration is awaited.

        A stream takes its place afterwards: a refusal that overtakes the configuration would reach the client as a
        broken call.
        """
        if self._opening >= self._limits.max_streams + _MORE_OPENING:
            raise LimitReached(f"{self._opening} streams are about to be opened; send the configuration at once")
        self._opening += 1
        try:
            yield
        finally:
            self._opening -= 1

    @contextmanager
    def for_stream(self, caller: Caller = ANYBODY) -> Iterator[None]:
        """While a stream of `caller` is open. Raises `LimitReached` or `ServerDraining`."""
        self.refuse_when_draining()
        if self.streams >= self._limits.max_streams:
            raise LimitReached(
                f"{self.streams} streams are open, as many as this server takes (limits.max_streams): close one, try "
                "later, or use another server"
            )
        allowed = caller.grant.streams
        if allowed and self._of_callers[caller.name] >= allowed:
            raise LimitReached(
                f"{allowed} streams of this token are open, as many as it allows (streams={allowed}): close one first"
            )
        self.streams += 1
        self._of_callers[caller.name] += 1
        self._note_work()
        try:
            yield
        finally:
            self.streams -= 1
            self._of_callers[caller.name] -= 1
            self._note_work()

    @contextmanager
    def for_picture(self) -> Iterator[None]:
        """While a single picture is in work. Raises `LimitReached` or `ServerDraining`."""
        self.refuse_when_draining()
        if self.pictures >= self._limits.max_pictures:
            raise LimitReached(
                f"{self.pictures} pictures are in work, as many as this server takes (limits.max_pictures): wait for "
                "an answer before you send the next one"
            )
        self.pictures += 1
        self._note_work()
        try:
            yield
        finally:
            self.pictures -= 1
            self._note_work()

    def refuse_when_draining(self) -> None:
        """Raise `ServerDraining` if the server is about to stop."""
        if self._drain:
            raise ServerDraining("this server is about to stop; use another one, or try again when it is back")

    def _note_work(self) -> None:
        if self.streams or self.pictures:
            self._idle.clear()
        else:
            self._idle.set()
