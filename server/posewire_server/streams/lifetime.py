"""When the server ends a stream: open too long, idle, responses not read, token changed or withdrawn."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable

from posewire_server.admission.tokens import ANYBODY, Caller
from posewire_server.config import LimitsConfig
from posewire_server.drain import DrainSignal
from posewire_server.errors import NotAuthenticated, Stalled
from posewire_server.streams.outbox import Outbox

__all__ = ["Lifetime"]

# A stream is checked at least this often, and several times within its shortest limit.
_LOOK_EVERY_S = 1.0
_LOOKS_A_LIMIT = 8


class Lifetime:
    """Checks a stream periodically, so that nothing needs to be done per frame.

    Args:
        limits: how long a stream may be open, idle, and unread by its client.
        server: set when the server is about to stop.
        outbox: of the stream.
        caller: whose it is.
        clock: seconds; a test's own.
    """

    def __init__(
        self,
        limits: LimitsConfig,
        server: DrainSignal,
        outbox: Outbox,
        caller: Caller = ANYBODY,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limits = limits
        self._server = server
        self._outbox = outbox
        self._caller = caller
        self._clock = clock
        self._opened_s = self._busy_s = clock()
        self._received = 0
        finite = [limit for limit in (limits.max_stream_s, limits.max_idle_s, limits.max_stall_s) if limit]
        self._look_every_s = min(_LOOK_EVERY_S, min(finite) / _LOOKS_A_LIMIT)

    async def over(self) -> str:
        """Wait until the stream must be drained, and return why.

        Raises:
            Stalled, NotAuthenticated: see `watch_client`.
        """
        while True:
            with contextlib.suppress(TimeoutError):
                # Not `asyncio.wait`, see `one_ended`.
                async with asyncio.timeout(self._look_every_s):
                    await self._server.wait()
            if self._server:
                return "the server is about to stop"
            self._check_client()
            if reason := self._expired():
                return reason

    async def watch_client(self) -> None:
        """Keep checking the client while the stream drains, until cancelled.

        Raises:
            Stalled: the client has not read a response for too long.
            NotAuthenticated: its token was withdrawn.
        """
        while True:
            await asyncio.sleep(self._look_every_s)
            self._check_client()

    def _check_client(self) -> None:
        if not self._caller.is_known():
            raise NotAuthenticated("the token of this stream was withdrawn: ask for a new one")
        since = self._outbox.sending_since_s
        if since is not None and self._clock() - since > self._limits.max_stall_s:
            raise Stalled(
                f"a response was not read for {self._limits.max_stall_s:g} s (limits.max_stall_s): read responses "
                "while you send frames"
            )

    def _expired(self) -> str:
        now, accounts, limits = self._clock(), self._outbox.accounts, self._limits
        if self._caller.has_changed():
            return "its token allows something else now"
        if limits.max_stream_s and now - self._opened_s > limits.max_stream_s:
            return f"it has been open for {limits.max_stream_s:g} s"
        if accounts.received != self._received or accounts.in_work:
            self._received, self._busy_s = accounts.received, now
        if limits.max_idle_s and now - self._busy_s > limits.max_idle_s:
            return f"no frame came for {limits.max_idle_s:g} s"
        return ""
