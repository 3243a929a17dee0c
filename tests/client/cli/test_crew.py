"""Workers whose items are rejected: which continue, which wait, and for how long."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from posewire.cli import crew as module
from posewire.cli.crew import Crew
from posewire.errors import ConnectionFailed, LimitExceeded, PosewireError


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_WAIT_S", "_LONGEST_WAIT_S"):
        monkeypatch.setattr(module, name, 0.001)


class Server:
    """Processes `places` items at a time and rejects more; rejects everything for the first `refusals` calls."""

    def __init__(self, places: int = 99, refusals: int = 0, reason: str = "LIMIT_REACHED") -> None:
        self.places, self.refusals, self.reason = places, refusals, reason
        self.done: list[int] = []
        self.failed: list[tuple[int, str]] = []
        self.refused = 0
        self.most = 0
        self._busy = 0

    async def do(self, item: int) -> None:
        await asyncio.sleep(0)  # on its way
        if self.refusals > 0 or self._busy >= self.places:
            self.refusals -= 1
            self.refused += 1
            raise LimitExceeded(f"no room for {item}", reason=self.reason)
        self._busy += 1
        self.most = max(self.most, self._busy)
        await asyncio.sleep(0.01)
        self._busy -= 1
        self.done.append(item)

    def fail(self, item: int, error: Exception) -> None:
        self.failed.append((item, str(error)))

    async def work(self, items: int, at_a_time: int, *, quiet: bool = False) -> None:
        await Crew(self.do, self.fail, quiet=quiet).work(range(items), at_a_time)


async def test_all_work_where_there_is_room(capsys: pytest.CaptureFixture[str]) -> None:
    server = Server()
    await server.work(8, at_a_time=4)
    assert (sorted(server.done), server.failed, server.most) == (list(range(8)), [], 4)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("places", [1, 2])
async def test_those_who_are_refused_let_the_others_go_on(places: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Each message is printed once."""
    server = Server(places)
    await server.work(9, at_a_time=4)
    assert (sorted(server.done), server.failed, server.most) == (list(range(9)), [], places)
    assert capsys.readouterr().err == f"posewire: no room for {places}; going on with fewer at a time\n"


@pytest.mark.parametrize("quiet", [False, True])
async def test_where_all_are_refused_they_wait(quiet: bool, capsys: pytest.CaptureFixture[str]) -> None:
    server = Server(refusals=9)
    await server.work(5, at_a_time=4, quiet=quiet)
    assert (sorted(server.done), server.failed) == (list(range(5)), [])
    said = [line.partition("; ")[2] for line in capsys.readouterr().err.splitlines()]
    assert said == ([] if quiet else ["going on with fewer at a time", "trying again, for 60 s at most"])


@pytest.mark.parametrize("items", [20, 21])
async def test_it_does_not_wait_for_ever(items: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_WAIT_S", 60.0)
    monkeypatch.setattr(module, "_GIVE_UP_AFTER_S", 0.05)
    server = Server(places=0)
    await asyncio.wait_for(server.work(items, at_a_time=20), 30)
    assert (server.done, [item for item, _ in sorted(server.failed)]) == ([], list(range(items)))
    assert server.refused < 40  # all at first, and then one at a time, more and more rarely


async def test_after_a_shortage_all_work_again() -> None:
    server = Server(places=1)

    async def do(item: int) -> None:
        await server.do(item)
        server.places = 99

    await Crew(do, server.fail, quiet=True).work(range(40), 4)
    assert (sorted(server.done), server.failed, server.most) == (list(range(40)), [], 4)


async def test_one_at_a_time_tries_again() -> None:
    server = Server(places=1)
    calls = under_way = most = 0

    async def do(item: int) -> None:
        nonlocal calls, under_way, most
        calls += 1
        under_way += 1
        if calls > 50:
            most = max(most, under_way)
        try:
            await server.do(item)
        finally:
            under_way -= 1

    await Crew(do, server.fail, quiet=True).work(range(20), 50)
    assert sorted(server.done) == list(range(20))
    assert most == 2  # and one that is admitted


async def test_the_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_FIRST_WAIT_S", "_LONGEST_WAIT_S"):
        monkeypatch.setattr(module, name, 60.0)
    server = Server(places=1)
    await asyncio.wait_for(server.work(9, at_a_time=4), 30)
    assert (sorted(server.done), server.refused) == (list(range(9)), 3)  # each of the others tried once


@pytest.mark.parametrize("fails", [False, True])
async def test_the_minute_begins_anew_with_an_item_that_was_admitted(
    fails: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also with one that failed then."""
    monkeypatch.setattr(module, "_GIVE_UP_AFTER_S", 0.05)
    failed: list[int] = []
    calls = 0

    async def do(_: int) -> None:
        nonlocal calls
        calls += 1
        if calls in (1, 3):
            raise LimitExceeded("no room", reason="LIMIT_REACHED")
        if calls == 2:
            await asyncio.sleep(0.1)
            if fails:
                raise PosewireError("no result")

    await Crew(do, lambda item, _: failed.append(item), quiet=True).work(range(5), 1)
    assert failed == ([0] if fails else [])


async def test_nobody_gives_up_while_another_is_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GIVE_UP_AFTER_S", 0.005)
    server = Server()

    async def do(item: int) -> None:
        server.places = min(server.places, item)  # none, once 0 has come
        if item == 0:
            await asyncio.sleep(0.1)
            server.places = 99
        await server.do(item)

    await Crew(do, server.fail, quiet=True).work(range(2), 2)
    assert (sorted(server.done), server.failed) == ([0, 1], [])


async def test_what_no_waiting_helps_fails_at_once() -> None:
    server = Server(refusals=1, reason="TOO_LARGE")
    await server.work(3, at_a_time=1)
    assert (server.done, server.failed) == ([1, 2], [(0, "no room for 0")])


@pytest.mark.parametrize("error", [PosewireError("unreadable"), OSError("gone")])
async def test_other_failures_are_those_of_their_item(error: Exception) -> None:
    failed: list[int] = []

    async def do(_: int) -> None:
        raise error

    await Crew(do, lambda item, _: failed.append(item), quiet=True).work(range(3), 2)
    assert sorted(failed) == [0, 1, 2]


async def test_a_server_that_cannot_come_back_ends_the_work() -> None:
    done: list[int] = []
    failed: list[int] = []

    async def do(item: int) -> None:
        await asyncio.sleep(0)
        if item >= 3:
            raise ConnectionFailed("nobody answers")
        done.append(item)

    await Crew(do, lambda item, _: failed.append(item), quiet=True, reconnects=False).work(range(9), 2)
    assert (sorted(done), sorted(failed)) == ([0, 1, 2], [3, 4, 5, 6, 7, 8])


async def test_a_server_that_comes_back_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    server, calls = Server(), 0

    async def do(item: int) -> None:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0)
        if 4 < calls < 20:
            raise ConnectionFailed("nobody answers")
        await server.do(item)

    await Crew(do, server.fail, quiet=False).work(range(12), 4)
    assert (sorted(server.done), server.failed) == (list(range(12)), [])
    assert capsys.readouterr().err == "posewire: nobody answers; trying again, for 60 s at most\n"


async def test_a_server_that_does_not_come_back_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although one attempt or another is always under way: it takes long to find out."""
    monkeypatch.setattr(module, "_GIVE_UP_AFTER_S", 0.1)
    server, calls = Server(), 0

    async def do(item: int) -> None:
        nonlocal calls
        calls += 1
        if calls > 3:
            await asyncio.sleep(0.02)
            raise ConnectionFailed("nobody answers")
        await server.do(item)

    await asyncio.wait_for(Crew(do, server.fail, quiet=True).work(range(9), 3), 30)
    assert sorted(server.done) == [0, 1, 2]
    assert sorted(server.failed) == [(item, "nobody answers") for item in range(3, 9)]


async def test_a_server_is_given_up_though_each_attempt_outlasts_the_beginning_of_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "_GIVE_UP_AFTER_S", 0.05)
    failed: list[int] = []
    begun = asyncio.Event()  # another one for each attempt

    async def do(_: int) -> None:
        nonlocal begun
        begun.set()
        begun = asyncio.Event()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(begun.wait(), 0.2)
        raise ConnectionFailed("nobody answers")

    await asyncio.wait_for(Crew(do, lambda item, _: failed.append(item), quiet=True).work(range(3), 2), 10)
    assert sorted(failed) == [0, 1, 2]


async def test_an_item_that_ends_its_server_each_time_costs_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_GIVE_UP_AFTER_S", 0.05)
    server = Server()

    async def do(item: int) -> None:
        if item == 1:
            raise ConnectionFailed("the server is gone")
        await server.do(item)

    await Crew(do, server.fail, quiet=True).work(range(4), 1)
    assert (server.done, server.failed) == ([0, 2, 3], [(1, "the server is gone")])
