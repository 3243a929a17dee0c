"""When, where and for how long a lost stream is tried again; without a server, and without real waiting."""

from __future__ import annotations

import asyncio
import random
from typing import Any

import pytest

import posewire
from posewire import ConnectionFailed, ConnectionLost, ReconnectSettings
from posewire._channels.connections import Access, Connections
from posewire._streaming.reconnection import _MOST_FRUITLESS, Reconnection, waits_s

SETTINGS = ReconnectSettings(initial_s=1.0, max_s=4.0, jitter=0.0, give_up_after_s=20.0, attempt_timeout_s=3.0)


class Attempts:
    """In place of `TrackCall.open`: each attempt gives a call, or finds nobody; time passes only between them.

    Attributes:
        now_s: the time.
        succeed: whether attempts give a call.
        waited_s: how long was waited before each.
        timeouts_s: how long each might have taken.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, settings: ReconnectSettings, *addresses: str) -> None:
        self.now_s, self.succeed = 0.0, True
        self.waited_s: list[float] = []
        self.timeouts_s: list[float] = []
        self.connections = Connections(addresses or "a:1", Access(), ())
        self._reconnection = Reconnection(self.connections, settings, posewire.StreamSettings())
        self.record_progress = self._reconnection.record_progress
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now_s)
        monkeypatch.setattr(self.connections, "to", lambda address: address)
        monkeypatch.setattr("posewire._streaming.reconnection.TrackCall.open", self._open)

    async def lose(self, *, idle: bool = False) -> Any:
        cause = ConnectionLost("it broke")
        return await self._reconnection.open_another(self.connections.preferred, None, cause, self._wait, idle=idle)

    async def _open(self, connection: Any, settings: Any, resume: Any, timeout_s: float, *_: str) -> object:
        self.timeouts_s.append(timeout_s)
        if not self.succeed:
            raise ConnectionFailed("nobody there", code="UNAVAILABLE")
        return object()

    async def _wait(self, seconds: float) -> bool:
        self.waited_s.append(seconds)
        self.now_s += seconds
        return True


async def test_each_loss_has_its_own_waits_and_its_own_time(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, SETTINGS)
    for _ in range(3):
        attempts.waited_s.clear()
        await attempts.lose()
        assert attempts.waited_s == [0.0]  # at once
        attempts.now_s += 100.0
        attempts.record_progress()
    attempts.waited_s.clear()
    attempts.succeed = False
    with pytest.raises(ConnectionLost, match="given up after 7 attempts in 20 s"):
        await attempts.lose()
    assert attempts.waited_s == [0.0, 1.0, 2.0, 4.0, 4.0, 4.0, 4.0]
    assert set(attempts.timeouts_s) == {3.0}


async def test_losses_without_an_answer_between_them_share_waits_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, SETTINGS)
    for _ in range(3):
        await attempts.lose()
    assert attempts.waited_s == [0.0, 1.0, 2.0]
    attempts.succeed = False
    with pytest.raises(ConnectionLost, match="given up after 4 attempts in 20 s"):  # 3 s are over
        await attempts.lose()


@pytest.mark.parametrize(
    ("idle", "for_s", "ends"),
    [
        (True, 5.0, False),
        (True, 3.0, True),  # no longer than `max_s`: it may fail because of how it is opened
        (False, 5.0, True),  # it may fail because of what it is sent
    ],
)
async def test_an_idle_stream_may_lose_its_server_as_often_as_it_likes(
    monkeypatch: pytest.MonkeyPatch, idle: bool, for_s: float, ends: bool
) -> None:
    attempts = Attempts(monkeypatch, ReconnectSettings(initial_s=0.1, max_s=4.0, give_up_after_s=float("inf")))
    for _ in range(_MOST_FRUITLESS):
        await attempts.lose(idle=idle)
        attempts.now_s += for_s
    if ends:
        with pytest.raises(ConnectionLost, match="10 times in a row"):
            await attempts.lose(idle=idle)
    else:
        assert await attempts.lose(idle=idle) is not None


async def test_new_calls_go_to_the_server_that_was_found(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = Attempts(monkeypatch, SETTINGS, "a:1", "b:1")
    await attempts.lose()
    assert attempts.connections.in_turn() == ("b:1", "a:1")


@pytest.mark.parametrize("servers", [1, 3])
def test_waits_grow_to_their_limit_and_differ_between_clients(servers: int) -> None:
    settings = ReconnectSettings(initial_s=0.1, max_s=2.0, jitter=0.3)
    waits = waits_s(settings, servers, random.Random(1))
    assert [next(waits) for _ in range(servers)] == [0.0] * servers
    rounds = [sum(next(waits) for _ in range(servers)) for _ in range(10)]
    wanted = [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0, 2.0]
    assert all(abs(wait - want) <= 0.3 * want + 1e-9 for wait, want in zip(rounds, wanted, strict=True))
    others = waits_s(settings, servers, random.Random(2))
    assert [next(others) for _ in range(40)][servers:] != [next(waits) for _ in range(40)][servers:]
