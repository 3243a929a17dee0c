from __future__ import annotations

import asyncio

import pytest

from posewire_server.admission.openings import Openings
from posewire_server.admission.tokens import ANYBODY, Caller, TokenGrant
from posewire_server.config import LimitsConfig
from posewire_server.errors import LimitReached
from posewire_server.wire.peers import caller_key
from tests.server.clock import Clock

_HOST, _SAME_HOST, _OTHER_HOST = "ipv4:10.0.0.1:5000", "ipv4:10.0.0.1:5001", "ipv6:%5Bfe80::1%5D:5000"
_DOOR, _GATE = Caller(TokenGrant("door")), Caller(TokenGrant("gate"))


@pytest.fixture
def openings(clock: Clock) -> Openings:
    return Openings(LimitsConfig(max_streams=50, max_openings_per_s=4.0), clock)


async def _open(openings: Openings, times: int, caller: Caller = ANYBODY, peer: str = _HOST) -> None:
    for _ in range(times):
        await openings.turn(caller_key(caller.name, peer))


async def test_as_many_as_may_be_open_are_opened_at_once(openings: Openings, pauses: list[float]) -> None:
    await _open(openings, 50)
    assert pauses == []


async def test_who_goes_on_opening_waits(openings: Openings, pauses: list[float], clock: Clock) -> None:
    await _open(openings, 50)
    await _open(openings, 3, peer=_SAME_HOST)
    assert pauses == pytest.approx([0.25, 0.5, 0.75])
    clock.now += 0.75 + 50 / 4.0  # all is forgiven then
    await _open(openings, 50)
    assert len(pauses) == 3


async def test_who_would_wait_too_long_is_refused_and_told_the_limit(
    openings: Openings, pauses: list[float], clock: Clock
) -> None:
    await _open(openings, 50 + 20)
    assert max(pauses) == pytest.approx(5.0)
    for _ in range(3):  # which does not count
        with pytest.raises(LimitReached, match=r"more than 4 a second \(limits.max_openings_per_s\)"):
            await _open(openings, 1)
    clock.now += 0.25
    await _open(openings, 1)


async def test_openings_given_up_while_they_wait_do_not_count(openings: Openings) -> None:
    await _open(openings, 50)
    for _ in range(30):
        given_up = asyncio.ensure_future(_open(openings, 1))
        await asyncio.sleep(0)
        given_up.cancel()
        with pytest.raises(asyncio.CancelledError):
            await given_up


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((ANYBODY, _HOST), (ANYBODY, _OTHER_HOST)),
        ((_DOOR, _HOST), (_GATE, _HOST)),  # two tokens behind one address
        ((_DOOR, _HOST), (ANYBODY, _HOST)),
    ],
)
async def test_others_do_not_wait(
    openings: Openings, pauses: list[float], first: tuple[Caller, str], second: tuple[Caller, str]
) -> None:
    await _open(openings, 60, *first)
    del pauses[:]
    await _open(openings, 50, *second)
    assert pauses == []
    await _open(openings, 1, *first)  # which is not forgotten meanwhile
    assert len(pauses) == 1


async def test_a_token_is_the_same_wherever_it_comes_from(openings: Openings, pauses: list[float]) -> None:
    await _open(openings, 50, _DOOR, _HOST)
    await _open(openings, 1, _DOOR, _OTHER_HOST)
    assert pauses == pytest.approx([0.25])


async def test_hosts_that_rest_are_forgotten(openings: Openings, clock: Clock) -> None:
    for host in range(100):
        await _open(openings, 1, peer=f"ipv4:10.0.1.{host}:5000")
        clock.now += 0.2
    assert len(openings) < 5
