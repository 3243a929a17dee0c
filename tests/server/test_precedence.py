from __future__ import annotations

import asyncio

import pytest

from posewire_server.outbox import Accounts
from posewire_server.precedence import Precedence, Standing


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


class Stream:
    """A stream as its standing sees it."""

    def __init__(self, precedence: Precedence, clock: Clock) -> None:
        self.accounts, self.excess, self._clock = Accounts(), 0, clock
        self.standing: Standing = precedence.join(self.accounts, lambda: self.excess, clock)

    def receive(self) -> None:
        self.accounts.received += 1

    def answer(self, work_s: float = 60.0) -> None:
        self.accounts.tracked += 1
        self.standing.frame_done(work_s)

    def live(self, *, excess_a_frame: int, work_s: float = 60.0) -> None:
        """Two seconds at five frames a second."""
        for _ in range(10):
            self._clock.now += 0.2
            self.excess += excess_a_frame
            self.receive()
            self.answer(work_s)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def precedence() -> Precedence:
    return Precedence()


async def _waits(stream: Stream) -> asyncio.Task[None] | None:
    """The turn that it waits for; None if it need not."""
    turn = asyncio.create_task(stream.standing.turn())
    for _ in range(20):
        await asyncio.sleep(0)
    return None if turn.done() else turn


async def test_a_flood_lets_the_frame_of_a_modest_stream_pass(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10)
    modest.live(excess_a_frame=0)
    assert await _waits(flood) is None  # nobody is there
    modest.receive()
    turn = await _waits(flood)
    assert turn is not None
    assert await _waits(modest) is None
    modest.answer()
    await turn


async def test_the_streams_that_ask_too_much_do_not_wait_for_each_other(precedence: Precedence, clock: Clock) -> None:
    floods = [Stream(precedence, clock) for _ in range(2)]
    for flood in floods:
        flood.live(excess_a_frame=1)
        flood.receive()
    for flood in floods:
        assert await _waits(flood) is None


async def test_nobody_waits_longer_than_its_own_frame_takes(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10, work_s=0.01)
    modest.receive()  # and it is never done
    async with asyncio.timeout(5):
        await flood.standing.turn()
    clock.now += 0.01  # which the turn took
    flood.standing.frame_done(0.0)
    assert await _waits(flood) is None


async def test_what_is_left_of_a_frame_s_patience_is_for_its_next_stage(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10, work_s=30.0)
    modest.receive()
    turn = await _waits(flood)
    assert turn is not None
    clock.now += 30.0
    modest.answer()
    await turn
    modest.receive()
    assert await _waits(flood) is None  # it has waited for as long as a frame takes it


@pytest.mark.parametrize(("excess_in_ten", "greedy"), [(0, False), (5, False), (6, True), (100, True)])
def test_a_few_frames_too_many_are_forgiven(
    precedence: Precedence, clock: Clock, excess_in_ten: int, greedy: bool
) -> None:
    stream = Stream(precedence, clock)
    for _ in range(9):
        stream.receive()
        stream.answer()
    stream.excess += excess_in_ten
    clock.now += 1.0
    stream.receive()
    stream.answer()
    assert stream.standing.greedy is greedy


def test_whoever_asks_less_again_is_modest_again(precedence: Precedence, clock: Clock) -> None:
    stream = Stream(precedence, clock)
    stream.live(excess_a_frame=3)
    assert stream.standing.greedy
    stream.live(excess_a_frame=0)
    assert not stream.standing.greedy


async def test_nobody_waits_for_a_stream_that_is_closed(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10)
    modest.receive()
    turn = await _waits(flood)
    assert turn is not None
    precedence.leave(modest.standing)
    await turn
