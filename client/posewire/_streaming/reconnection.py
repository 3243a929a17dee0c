"""Finding a server after a loss."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Iterator

from posewire._channels.connections import PASSING, Connections
from posewire._streaming.call import TrackCall
from posewire.connection import ReconnectSettings
from posewire.errors import CallError, ConnectionLost, PosewireError
from posewire.resume import ResumePoint
from posewire.settings import StreamSettings

__all__ = ["Reconnection", "waits_s"]

_log = logging.getLogger(__name__)

# A server that fails again after each reconnection probably fails because of what it is sent.
_MOST_FRUITLESS = 10


def waits_s(settings: ReconnectSettings, servers: int, chance: random.Random) -> Iterator[float]:
    """Endless waits before each attempt: none until each server was tried once, then increasing ones."""
    yield from (0.0 for _ in range(servers))
    wait = settings.initial_s
    while True:
        for _ in range(servers):
            yield wait * (1 + settings.jitter * chance.uniform(-1, 1)) / servers
        wait = min(2 * wait, settings.max_s)


class Reconnection:
    """Resumes one stream, as often as needed.

    Args:
        connections: the servers.
        settings: waits and limits.
        stream: the settings requested from each server; always the same, since a token is only valid for them.
    """

    def __init__(self, connections: Connections, settings: ReconnectSettings, stream: StreamSettings) -> None:
        self._connections = connections
        self._settings = settings
        self._stream = stream
        self._chance = random.Random()
        self._fruitless = 0
        self._waits = self._new_waits()
        self._deadline_s: float | None = None
        self._opened_s = 0.0

    def record_progress(self) -> None:
        """Record that a frame was answered: the next loss starts with fresh limits."""
        self._fruitless = 0
        self._deadline_s = None

    async def open_another(
        self,
        address: str,
        resume: ResumePoint | None,
        cause: PosewireError,
        wait: Callable[[float], Awaitable[bool]],
        *,
        idle: bool,
    ) -> tuple[TrackCall, int] | None:
        """Open another call; returns it and the number of attempts, or None once nothing is left to do.

        Args:
            address: of the server that was lost.
            resume: where to resume.
            cause: why it was lost.
            wait: waits this many seconds before an attempt; returns whether anything is left to do.
            idle: whether the server owed no answer when it was lost.

        Raises:
            ConnectionLost: no server was found in time.
            CallError: every server refuses, for reasons that do not pass.
        """
        now = asyncio.get_running_loop().time
        if idle and now() - self._opened_s > self._settings.max_s:
            self.record_progress()
        if self._deadline_s is None:
            self._deadline_s = now() + self._settings.give_up_after_s
            self._waits = self._new_waits()
        self._fruitless += 1
        _log.warning("%s; reconnecting", cause)
        attempts, last, refusing = 0, cause, set[str]()
        while self._fruitless <= _MOST_FRUITLESS:
            wait_s = next(self._waits)
            if attempts and now() + wait_s > self._deadline_s:
                break
            if not await wait(wait_s):
                return None
            address = self._connections.after(address)
            attempts += 1
            try:
                call = await TrackCall.open(
                    self._connections.to(address),
                    self._stream,
                    resume,
                    self._settings.attempt_timeout_s,
                    "attempt_timeout_s (ReconnectSettings)",
                )
            except PASSING as error:  # LimitExceeded too: the server may still count the lost call
                last = error
                _log.info("attempt %d failed: %s", attempts, error)
            except CallError as error:
                last = error
                refusing.add(address)
                if len(refusing) == len(self._connections.addresses):
                    raise
            else:
                self._connections.preferred = address
                self._opened_s = now()
                return call, attempts
        raise self._given_up(cause, attempts, last) from last

    def _given_up(self, cause: PosewireError, attempts: int, last: PosewireError) -> ConnectionLost:
        if attempts == 0:
            return ConnectionLost(f"{cause}; it broke {_MOST_FRUITLESS} times in a row without tracking a frame")
        return ConnectionLost(
            f"{cause}; reconnecting was given up after {attempts} attempts in {self._settings.give_up_after_s:g} s"
            f" (give_up_after_s), the last of which said: {last}"
        )

    def _new_waits(self) -> Iterator[float]:
        return waits_s(self._settings, len(self._connections.addresses), self._chance)
