"""Processes that share work: in order, and gone when nobody waits for them."""

from __future__ import annotations

import signal
import time
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from pathlib import Path

import pytest

from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.worker_processes import worker_processes


def is_deaf_to_ctrl_c(_: object) -> bool:
    return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def notes_that_it_was_finished(note: Path, seconds: float) -> None:
    note.with_suffix(".begun").touch()
    time.sleep(seconds)
    note.touch()


def test_an_interrupt_is_for_the_parent_and_breaks_off_what_is_under_way(tmp_path: Path) -> None:
    note = tmp_path / "note"

    def work() -> None:
        with worker_processes(1, prepare=(tmp_path / "ready").touch) as mapped:
            assert list(mapped(is_deaf_to_ctrl_c, [0])) == [True]
            assert not is_deaf_to_ctrl_c(0)
            mapped(partial(notes_that_it_was_finished, note), [1.0])
            while not note.with_suffix(".begun").exists():
                time.sleep(0.01)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        work()
    assert (tmp_path / "ready").exists()
    assert not note.exists()


def test_a_process_that_is_killed_is_said_with_the_remedy() -> None:
    said = r"was killed, .* memory ran out; use fewer of them \(--workers\)"
    with pytest.raises(EvaluationError, match=said), worker_processes(1):
        raise BrokenProcessPool("A process in the process pool was terminated abruptly")
