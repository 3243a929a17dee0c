from __future__ import annotations

import asyncio

import pytest

from posewire.v1 import track_pb2
from posewire_server.config import LimitsConfig
from posewire_server.drain import DrainSignal
from posewire_server.errors import Stalled
from posewire_server.observability.metrics import Metrics
from posewire_server.streams.lifetime import Lifetime
from posewire_server.streams.outbox import Outbox


class Watched:
    """A lifetime on a clock of the test's own; the limits are in its seconds, so small that it looks all the time."""

    def __init__(self, **limits: float) -> None:
        self.now = 0.0
        self.server = DrainSignal(1.0)
        self.outbox = Outbox(self._write, Metrics())
        defaults = {"max_stream_s": 0.0, "max_idle_s": 0.0}
        settings = LimitsConfig(**(defaults | limits))  # type: ignore[arg-type]
        self.lifetime = Lifetime(settings, self.server, self.outbox, clock=lambda: self.now)
        self.over = asyncio.ensure_future(self.lifetime.over())

    async def _write(self, response: track_pb2.TrackResponse) -> None:
        pass

    async def looks(self, times: int = 3) -> bool:
        """Let it look some times; whether it still sees no reason to end."""
        for _ in range(times):
            await asyncio.wait({self.over}, timeout=0.02)
        return not self.over.done()


async def test_the_server_drains() -> None:
    watched = Watched()
    watched.server.set()
    assert await watched.over == "the server is about to stop"


async def test_open_for_long_though_frames_come() -> None:
    watched = Watched(max_stream_s=0.1)
    watched.now = 0.09
    assert await watched.looks()
    watched.outbox.accounts.received += 1
    watched.now = 0.11
    assert await watched.over == "it has been open for 0.1 s"
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}  # nothing goes on waiting for the server's drain


async def test_idle() -> None:
    watched = Watched(max_idle_s=0.1)
    watched.now = 0.09
    assert await watched.looks()
    watched.outbox.accounts.received += 1
    watched.outbox.accounts.tracked += 1
    assert await watched.looks()
    watched.now = 0.18  # since the frame: less
    assert await watched.looks()
    watched.now = 0.2
    assert await watched.over == "no frame came for 0.1 s"


async def test_while_a_frame_is_in_work_a_stream_is_not_idle() -> None:
    watched = Watched(max_idle_s=0.1)
    watched.outbox.accounts.received += 1
    for _ in range(3):
        watched.now += 10.0
        assert await watched.looks()
    watched.outbox.accounts.failed += 1
    assert await watched.looks(1)
    watched.now += 0.2
    assert await watched.over


async def test_a_response_that_is_not_read() -> None:
    watched = Watched(max_stall_s=0.1)
    watched.outbox.sending_since_s = watched.now = 1.0
    watched.now = 1.09
    assert await watched.looks()
    watched.now = 1.11
    with pytest.raises(Stalled, match=r"not read for 0\.1 s"):
        await watched.over


async def test_while_it_drains_the_client_is_still_watched() -> None:
    watched = Watched(max_stall_s=0.1)
    watched.server.set()
    await watched.over
    watched.outbox.sending_since_s = watched.now = 1.0
    watched.over = asyncio.ensure_future(watched.lifetime.watch_client())  # type: ignore[arg-type]
    assert await watched.looks()
    watched.now = 1.11
    with pytest.raises(Stalled, match=r"not read for 0\.1 s"):
        await watched.over


async def test_frames_that_only_the_decoder_holds_are_no_work() -> None:
    watched = Watched(max_idle_s=0.1)
    watched.outbox.accounts.received += 3
    watched.outbox.accounts.tracked += 1
    watched.outbox.accounts.in_decoder = 2
    assert await watched.looks()
    watched.now = 0.11
    assert await watched.over == "no frame came for 0.1 s"


async def test_without_limits_it_never_ends() -> None:
    watched = Watched()
    watched.now = 1e9
    assert await watched.looks(1)
    watched.over.cancel()
