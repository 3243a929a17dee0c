"""Workers that are refused: who goes on, who waits, and for how long."""

from __future__ import annotations

import asyncio

import pytest

from posewire.cli import crew as module
from posewire.cli.crew import Crew
from posewire.errors import ConnectionFailed, LimitExceeded, PosewireError


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_WAIT_S", "_LONGEST_WAIT_S"):
        monkeypatch.setattr(module, name, 0.001)


class Server:
    """Does `places` things at a time, refuses more, and refuses everything for the first `refusals` calls."""

    def __init__(self, places: int = 99, refusals: int = 0, reason: str = "LIMIT_REACHED") -> None:
        self.places, self.refusals, self.reason = places, refusals, reason
        self.done: list[int] = []
        self.failed: list[tuple[int, str]] = []
        self.most = 0
        self._busy = 0

    async def do(self, thing: int) -> None:
        if self.refusals > 0 or self._busy >= self.places:
            self.refusals -= 1
            raise LimitExceeded(f"no room for {thing}", reason=self.reason)
        self._busy += 1
        self.most = max(self.most, self._busy)
        await asyncio.sleep(0.01)
        self._busy -= 1
        self.done.append(thing)

    def fail(self, thing: int, error: Exception) -> None:
        self.failed.append((thing, str(error)))

    async def work(self, things: int, at_a_time: int, *, quiet: bool = False) -> None:
        await Crew(self.do, self.fail, quiet=quiet).work(range(things), at_a_time)


async def test_all_work_where_there_is_room(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server()
    await server.work(8, at_a_time=4)
    assert (sorted(server.done), server.failed, server.most) == (list(range(8)), [], 4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("places", [1, 2])
async def test_those_who_are_refused_leave_the_rest_to_the_others(
    places: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each remark comes once."""
    server = Server(places)
    await server.work(9, at_a_time=4)
    assert (sorted(server.done), server.failed, server.most) == (list(range(9)), [], places)
    assert capsys.readouterr().err == f"posewire: no room for {places}; going on with fewer at a time\n"


@pytest.mark.parametrize("quiet", [False, True])
async def test_the_last_one_waits(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(refusals=9)
    await server.work(5, at_a_time=4, quiet=quiet)
    assert (sorted(server.done), server.failed, server.most) == (list(range(5)), [], 1)
    said = [line.partition("; ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ([] if quiet else ["going on with fewer at a time", "trying again, for 60 s at most"])


async def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GIVE_UP_AFTER_S", 0.05)
    server = Server(places=0)
    await server.work(3, at_a_time=2)
    assert (server.done, [thing for thing, _ in sorted(server.failed)]) == ([], [0, 1, 2])


async def test_what_no_waiting_helps_fails_at_once() -> None:
    server = Server(refusals=1, reason="TOO_LARGE")
    await server.work(3, at_a_time=1)
    assert (server.done, server.failed) == ([1, 2], [(0, "no room for 0")])


@pytest.mark.parametrize("error", [PosewireError("unreadable"), OSError("gone")])
async def test_other_failures_are_those_of_their_thing(error: Exception) -> None:
    failed: list[int] = []

    async def do(_: int) -> None:
        raise error

    await Crew(do, lambda thing, _: failed.append(thing), quiet=True).work(range(3), 2)
    assert sorted(failed) == [0, 1, 2]


async def test_a_server_that_is_not_there_ends_the_work() -> None:
    under_way = asyncio.Event()

    async def do(thing: int) -> None:
        if thing == 0:
            await asyncio.sleep(0)
            raise ConnectionFailed("nobody answers")
        try:
            await asyncio.sleep(60)
        finally:
            under_way.set()

    with pytest.raises(ConnectionFailed):
        await Crew(do, lambda *_: None, quiet=True).work(range(3), 2)
    assert under_way.is_set()  # the other worker was ended
