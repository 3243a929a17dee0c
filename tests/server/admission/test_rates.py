from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_server.admission.rates import RateLimit, RateLimits
from tests.server.clock import Clock


def test_so_many_pass_a_second() -> None:
    clock = Clock()
    rate = RateLimit(10.0, clock)
    assert [rate.take() for _ in range(12)] == [True] * 10 + [False] * 2
    clock.now += 0.25
    assert [rate.take() for _ in range(4)] == [True, True, False, False]
    clock.now += 1000.0  # a pause saves up one second's worth, not more
    assert sum(rate.take() for _ in range(100)) == 10


def test_a_rate_below_one_still_lets_the_first_through() -> None:
    clock = Clock()
    rate = RateLimit(0.5, clock)
    assert [rate.take(), rate.take()] == [True, False]
    clock.now += 2.0
    assert rate.take()


def test_who_reserves_waits_for_its_turn() -> None:
    clock = Clock()
    rate = RateLimit(4.0, clock)
    waits = [rate.reserve() for _ in range(7)]
    assert waits == pytest.approx([0, 0, 0, 0, 0.25, 0.5, 0.75])
    clock.now += 0.75
    assert rate.reserve() == pytest.approx(0.25)


def test_more_may_pass_at_once_than_in_a_second() -> None:
    clock = Clock()
    rate = RateLimit(2.0, clock, burst=10.0)
    assert rate.is_rested
    assert sum(rate.take() for _ in range(20)) == 10
    assert rate.wait_s == pytest.approx(0.5)
    assert rate.reserve() == pytest.approx(0.5)  # looking did not count
    clock.now += 5.0
    assert not rate.is_rested
    assert rate.wait_s == 0.0
    clock.now += 0.5
    assert rate.is_rested


@given(st.lists(st.floats(0, 3), max_size=50), st.floats(0.1, 100))
def test_never_more_than_the_rate_and_one_burst(pauses: list[float], per_s: float) -> None:
    clock = Clock()
    rate = RateLimit(per_s, clock)
    passed = 0
    for pause in pauses:
        clock.now += pause
        passed += sum(rate.take() for _ in range(300))
    assert passed <= max(1.0, per_s) + sum(pauses) * per_s + 1e-6


async def test_who_waits_leaves_one_for_those_who_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock()
    rate = RateLimit(4.0, clock)
    passed, sleep = 0, asyncio.sleep
    monkeypatch.setattr(asyncio, "sleep", lambda _seconds: sleep(0))  # time passes only between the rounds

    async def uploads() -> None:
        nonlocal passed
        while True:
            await rate.turn()
            passed += 1

    uploading = [asyncio.create_task(uploads()) for _ in range(2)]
    try:
        taken = 0
        for _ in range(20):
            clock.now += 1.0
            before = passed
            while passed < before + 3:  # as many as are left over
                await sleep(0)
            for _ in range(10):
                await sleep(0)
            taken += rate.take()
            assert not rate.take()
    finally:
        for task in uploading:
            task.cancel()
        await asyncio.gather(*uploading, return_exceptions=True)
    assert taken == 20
    assert passed <= 4 + 20 * 4 - taken


async def test_of_a_burst_of_two_one_is_left_too() -> None:
    rate = RateLimit(1.0, Clock(), burst=2.0)
    await rate.turn()
    waiting = asyncio.create_task(rate.turn())
    await asyncio.sleep(0)
    assert rate.take()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.wait_for(RateLimit(1.0, Clock()).turn(), 10)  # of a burst of one, none can be left


async def test_who_waits_has_a_turn_after_a_second_where_others_take_all_there_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = Clock()
    rate, began_s = RateLimit(4.0, clock), clock.now

    async def sleep(seconds: float) -> None:
        for _ in range(round(8 * seconds)):
            clock.now += 1 / 8
            if clock.now % (1 / 4):  # between the moments at which one is left for the one who waits
                rate.take()
        assert clock.now < began_s + 10

    monkeypatch.setattr(asyncio, "sleep", sleep)
    while rate.take():
        pass
    await rate.turn()
    assert clock.now == began_s + 1


async def test_those_who_wait_pass_in_their_order() -> None:
    rate = RateLimit(1000.0, burst=2.0)
    order = []

    async def pass_as(name: int) -> None:
        await rate.turn()
        order.append(name)

    await asyncio.gather(*(pass_as(name) for name in range(9)))
    assert order == list(range(9))


def test_a_crowd_is_not_looked_through_for_each_new_caller() -> None:
    looks = 0

    def clock() -> float:
        nonlocal looks
        looks += 1
        return 0.0

    rates = RateLimits(1.0, clock, burst=5.0)
    for caller in range(1000):
        rates.of(str(caller)).take()
    assert len(rates) == 1000
    assert looks < 5 * 1000
