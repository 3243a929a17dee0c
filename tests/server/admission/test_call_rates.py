from __future__ import annotations

import asyncio

import pytest

from posewire_server.admission.call_rates import CallKind, CallRates
from posewire_server.admission.places import Places
from posewire_server.config import LimitsConfig
from posewire_server.drain import DrainSignal
from posewire_server.errors import LimitReached, ServerDraining
from tests.server.clock import Clock

_LIMITS = LimitsConfig(max_streams=30, max_pictures=10, max_queries_per_s=20.0)
_AT_ONCE = 100 + 30 + 10
_HOST, _CONNECTION, _ANOTHER_CONNECTION = "ipv4:10.0.0.1", "ipv4:10.0.0.1:5000", "ipv4:10.0.0.1:5001"


@pytest.fixture
def drain() -> DrainSignal:
    return DrainSignal(1.0)


@pytest.fixture
def rates(clock: Clock, drain: DrainSignal) -> CallRates:
    return CallRates(_LIMITS, Places(_LIMITS, drain), clock)


async def _ask(rates: CallRates, times: int, who: str = _HOST) -> None:
    for _ in range(times):
        await rates.turn(CallKind.QUESTION, who)


async def test_who_goes_on_asking_waits_but_nothing_else(rates: CallRates, pauses: list[float], clock: Clock) -> None:
    await _ask(rates, _AT_ONCE)
    assert pauses == []
    await _ask(rates, 3)
    assert pauses == pytest.approx([0.05, 0.1, 0.15])
    await _ask(rates, _AT_ONCE, "token:door")
    await rates.turn(CallKind.OPENING, _HOST)
    clock.now += 0.15 + _AT_ONCE / 20
    await _ask(rates, _AT_ONCE)
    assert len(pauses) == 3


async def test_what_is_given_back_never_waits_however_much_of_it_there_is(
    rates: CallRates, pauses: list[float]
) -> None:
    for _ in range(10 * _AT_ONCE):
        (await rates.turn(CallKind.PICTURE, _HOST)).give_back()
    assert pauses == []


async def test_who_would_wait_too_long_is_refused_after_having_waited(
    rates: CallRates, pauses: list[float], clock: Clock
) -> None:
    await _ask(rates, _AT_ONCE + 100)
    for _ in range(3):  # which does not count
        with pytest.raises(LimitReached, match=r"more than 20 a second \(limits.max_queries_per_s\)"):
            await _ask(rates, 1)
    assert pauses[-4:] == pytest.approx([5.0] * 4)
    clock.now += 0.1
    await _ask(rates, 1)


async def test_pictures_without_a_place_wait_longer_if_there_are_very_many(
    rates: CallRates, pauses: list[float], clock: Clock
) -> None:
    for _ in range(120):  # 80 a second, for 10 places
        await rates.without_place(_HOST)
    assert pauses == [0.5] * 120
    for _ in range(361):
        await rates.without_place(_HOST)
    assert pauses[-1] == pytest.approx(5.0)
    await rates.without_place("token:door")
    clock.now += 10.0
    await rates.without_place(_HOST)
    assert pauses[-2:] == [0.5] * 2


async def test_a_probe_does_not_wait_for_a_flood_that_comes_from_its_host(
    rates: CallRates, pauses: list[float], clock: Clock
) -> None:
    await _ask(rates, _AT_ONCE + 30)
    waited = len(pauses)
    for second in range(1, 21):
        await rates.probe(_CONNECTION)
        clock.now += 1.0
        await _ask(rates, 20)
        assert len(pauses) == waited + 20 * second
    for _ in range(5):
        await rates.probe(_ANOTHER_CONNECTION)
    assert len(pauses) == waited + 400
    await rates.probe(_ANOTHER_CONNECTION)  # beyond a few, probes are a flood themselves
    assert len(pauses) == waited + 401


async def test_a_call_that_waits_goes_away_at_once(rates: CallRates, drain: DrainSignal) -> None:
    await _ask(rates, _AT_ONCE - 1)
    rate = await rates.turn(CallKind.QUESTION, _HOST)
    for _ in range(60):
        rate.reserve()
    waits_s = rate.wait_s
    given_up, told = (asyncio.ensure_future(rates.turn(CallKind.QUESTION, _HOST)) for _ in range(2))
    await asyncio.sleep(0)
    given_up.cancel()
    with pytest.raises(asyncio.CancelledError):
        await given_up
    assert not told.done()
    assert rate.wait_s == pytest.approx(waits_s + 0.05)  # of the other one: what was given up does not count
    drain.set()
    with pytest.raises(ServerDraining):
        await told
