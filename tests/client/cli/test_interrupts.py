"""Ctrl-C, kills and closed terminals before, between, during and after items."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import typer

from posewire.cli import interrupts as interrupts_module
from posewire.cli.failures import ExitStatus, expected_failures
from posewire.cli.interrupts import Interrupts, terminated_as_interrupted

TERMINATIONS = [signal.SIGTERM, signal.SIGHUP]


def interrupt(number: int = signal.SIGINT) -> None:
    os.kill(os.getpid(), number)


def test_without_a_signal_all_items_come() -> None:
    with Interrupts() as interrupts:
        assert list(interrupts.until_interrupted([1, 2, 3])) == [1, 2, 3]
    assert not interrupts.happened


@pytest.mark.parametrize("number", [signal.SIGINT, *TERMINATIONS])
def test_the_item_in_work_is_finished(number: int) -> None:
    finished = []
    with Interrupts() as interrupts:
        for item in interrupts.until_interrupted(range(10)):
            if item == 3:
                interrupt(number)
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


def test_a_signal_just_before_the_wait_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    items: list[int] = []
    told, to_come = [False], [interrupt]

    def tell(_: Interrupts) -> bool:
        last = told[-1]
        if items and to_come:
            to_come.pop()()
        return last

    monkeypatch.setattr(Interrupts, "happened", property(tell, lambda _, value: told.append(value)), raising=False)
    with Interrupts() as interrupts:
        for item in interrupts.until_interrupted(range(10)):
            items.append(item)  # noqa: PERF402  `tell` must see it at once
    assert items == [0]


@pytest.mark.parametrize("number", [signal.SIGINT, *TERMINATIONS])
def test_before_the_items_nothing_is_worth_finishing(number: int) -> None:
    with Interrupts(), pytest.raises(KeyboardInterrupt):
        interrupt(number)


@pytest.mark.parametrize("first", [signal.SIGINT, *TERMINATIONS])
def test_a_second_ctrl_c_is_not_to_be_ignored(first: int) -> None:
    with Interrupts() as interrupts:
        for _ in interrupts.until_interrupted(range(10)):
            interrupt(first)
            with pytest.raises(KeyboardInterrupt):
                interrupt()


@pytest.mark.parametrize("number", TERMINATIONS)
def test_files_are_finished_however_often_a_terminal_says_that_it_closes(number: int) -> None:
    with Interrupts() as interrupts:
        for _ in interrupts.until_interrupted(range(10)):
            interrupt(number)
            interrupt(number)
        for again in TERMINATIONS:
            interrupt(again)
    assert interrupts.happened


@pytest.mark.parametrize("first", [signal.SIGINT, *TERMINATIONS])
@pytest.mark.parametrize("number", TERMINATIONS)
def test_what_is_stuck_can_be_ended(first: int, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts_module, "_AT_ONCE_S", 60.0)
    with Interrupts() as interrupts:
        for _ in interrupts.until_interrupted(range(10)):
            interrupt(first)
            interrupt(number)
            monkeypatch.setattr(interrupts_module, "_AT_ONCE_S", 0.0)
            with pytest.raises(KeyboardInterrupt):
                interrupt(number)


@pytest.mark.parametrize("number", [signal.SIGINT, *TERMINATIONS])
def test_after_the_items_files_are_finished(number: int) -> None:
    with Interrupts() as interrupts:
        assert list(interrupts.until_interrupted([1, 2])) == [1, 2]
        interrupt(number)
    assert interrupts.happened


def test_what_is_ignored_under_nohup_stays_so() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminated_as_interrupted(), Interrupts() as interrupts:
            interrupt(signal.SIGHUP)
            assert list(interrupts.until_interrupted([1, 2])) == [1, 2]
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", TERMINATIONS)
def test_what_would_end_the_program_on_the_spot_interrupts_it(number: int) -> None:
    with terminated_as_interrupted():
        with pytest.raises(KeyboardInterrupt):
            interrupt(number)
        for again in TERMINATIONS:  # what ends is left to end
            interrupt(again)
    assert signal.getsignal(number) is signal.SIG_DFL


@pytest.mark.parametrize("number", TERMINATIONS)
def test_an_end_that_is_stuck_can_be_ended(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts_module, "_AT_ONCE_S", 0.0)
    with terminated_as_interrupted():
        for _ in range(2):
            with pytest.raises(KeyboardInterrupt):
                interrupt(number)


@pytest.mark.parametrize("number", [signal.SIGINT, *TERMINATIONS])
def test_every_command_ends_in_its_own_way(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    tidied = []

    def command() -> None:
        with expected_failures():
            try:
                interrupt(number)
            finally:
                tidied.append("processes, temporary files, the terminal")

    with pytest.raises(typer.Exit) as ended:
        command()
    assert ended.value.exit_code == ExitStatus.INTERRUPTED
    assert capsys.readouterr().err == "posewire: interrupted\n"
    assert tidied


def test_who_handles_signals_goes_on_to_do_so() -> None:
    with Interrupts() as interrupts, terminated_as_interrupted():
        for _ in interrupts.until_interrupted(range(10)):
            interrupt(signal.SIGTERM)
    assert interrupts.happened


def test_the_handlers_of_before_come_back() -> None:
    before = signal.getsignal(signal.SIGINT)
    with Interrupts():
        assert signal.getsignal(signal.SIGINT) is not before
    assert signal.getsignal(signal.SIGINT) is before
