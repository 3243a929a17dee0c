"""Ctrl-C between, during and after items."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from posewire.cli.interrupts import Interrupts


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def test_without_a_signal_all_items_come() -> None:
    with Interrupts() as interrupts:
        assert list(interrupts.until_interrupted([1, 2, 3])) == [1, 2, 3]
    assert not interrupts.happened


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_item_in_work_is_finished(number: int) -> None:
    finished = []
    with Interrupts() as interrupts:
        for item in interrupts.until_interrupted(range(10)):
            if item == 3:
                os.kill(os.getpid(), number)
            finished.append(item)
    assert interrupts.happened
    assert finished == [0, 1, 2, 3]


def test_waiting_for_the_next_item_ends_at_once() -> None:
    def items() -> Iterator[int]:
        yield 1
        interrupt()
        raise AssertionError("the wait went on")

    with Interrupts() as interrupts:
        assert list(interrupts.until_interrupted(items())) == [1]
    assert interrupts.happened


def test_a_second_signal_is_not_to_be_ignored() -> None:
    with Interrupts():
        interrupt()
        with pytest.raises(KeyboardInterrupt):
            interrupt()


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
