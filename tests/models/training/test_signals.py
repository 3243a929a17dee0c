from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from posewire_models.training import __main__ as program
from posewire_models.training.checkpoint import load_checkpoint
from posewire_models.training.devices import Processes
from posewire_models.training.loop import train
from posewire_models.training.signals import StopSignals
from tests.models.training.test_loop import ONE_PROCESS, STEPS, Line, settings


class Interrupted(Line):
    """Gets a signal in its third step, and another one when it is measured."""

    def __init__(self, first: signal.Signals, second: signal.Signals | None = None) -> None:
        super().__init__()
        self.first, self.second = first, second

    def loss(self, network: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        loss = super().loss(network, batch)
        if len(self.seen) == 3:
            signal.raise_signal(self.first)
        return loss

    def measure(self, network: nn.Module) -> dict[str, float]:
        if self.second:
            signal.raise_signal(self.second)
        return super().measure(network)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_a_run_with_a_checkpoint(tmp_path: Path, number: signal.Signals) -> None:
    inherited = signal.signal(number, signal.default_int_handler)  # the tests may run under nohup
    try:
        with StopSignals() as stop:
            train(lambda: Interrupted(number), settings(tmp_path), ONE_PROCESS, stop=stop)
        after = signal.getsignal(number)
    finally:
        signal.signal(number, inherited)
    assert stop.received == number
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3
    assert after is signal.default_int_handler


def test_a_second_signal_ends_at_once_and_the_checkpoint_is_there(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), StopSignals() as stop:
        train(lambda: Interrupted(signal.SIGINT, signal.SIGINT), settings(tmp_path), ONE_PROCESS, stop=stop)
    assert load_checkpoint(tmp_path / "checkpoint.pt")["step"] == 3


def test_a_signal_that_is_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopSignals() as stop:
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert not stop.received


def test_the_program_says_how_a_stopped_run_goes_on(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(*arguments: Any, stop: StopSignals, **settings: Any) -> None:
        signal.raise_signal(signal.SIGINT)
        assert stop(1)

    monkeypatch.setattr(program, "run", run)
    with pytest.raises(SystemExit) as ended:
        program.app(["pose", "--config", "any"])
    assert ended.value.code == 128 + signal.SIGINT  # so that no script goes on to what comes after
    assert "--resume goes on" in capsys.readouterr().err


def test_an_empty_path_is_not_the_folder_in_which_one_stands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        program.app(["pose", "--config", "nano-pose", "--out", ""])
    assert ended.value.code == 2
    assert "--out: it is empty" in capsys.readouterr().err


class SecondOfTwo(Processes):
    """One of two processes, the other of which says what `first_says`."""

    first_says = 0.0
    left = 0

    def parallel(self, network: nn.Module) -> nn.Module:
        return network

    def agree(self, value: float) -> float:
        return self.first_says

    def stop(self) -> None:
        object.__setattr__(self, "left", self.left + 1)


@pytest.mark.parametrize(("first_says", "steps"), [(0.0, STEPS), (1.0, 5)])  # where it reports it asks the first
def test_processes_stop_at_the_same_step(tmp_path: Path, first_says: float, steps: int) -> None:
    processes = SecondOfTwo(torch.device("cpu"), rank=1, count=2)
    object.__setattr__(processes, "first_says", first_says)
    assert train(Line, settings(tmp_path), processes, stop=lambda step: step == 3).steps == steps
    assert processes.left == 1
