from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_server.rates import RateLimit


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


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
