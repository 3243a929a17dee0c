from __future__ import annotations

import gc
import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

import posewire
from posewire._threads.workers import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers("posewire-test", most=2)
    yield workers
    workers.close()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("posewire-test")]


def test_results_and_errors_are_those_of_the_work(workers: Workers) -> None:
    assert workers.submit(lambda: 3).result(10) == 3
    with pytest.raises(ZeroDivisionError):
        workers.submit(lambda: 1 // 0).result(10)


def test_a_thread_starts_where_all_others_are_busy_up_to_a_limit(workers: Workers) -> None:
    may_end = threading.Event()
    assert threads() == []
    for busy in range(1, 5):
        work = workers.submit(may_end.wait)
        assert len(threads()) == min(busy, 2)
    may_end.set()
    assert work.result(10)
    assert workers.submit(threading.current_thread).result(10) in threads()


def test_closing_waits_for_nobody_and_tells_what_has_not_begun(workers: Workers) -> None:
    begun, may_end = threading.Semaphore(0), threading.Event()

    def stuck() -> bool:
        begun.release()
        return may_end.wait()

    under_way = [workers.submit(stuck) for _ in range(2)]
    for _ in under_way:
        begun.acquire()
    cancelled, waiting = workers.submit(stuck), workers.submit(stuck)
    cancelled.cancel()
    workers.close()
    with pytest.raises(posewire.MisuseError, match="closed"):
        waiting.result(0)
    with pytest.raises(posewire.MisuseError, match="closed"):
        workers.submit(stuck)
    may_end.set()
    assert [work.result(10) for work in under_way] == [True, True]
    workers.close()


def test_a_system_without_another_thread_makes_do_with_those_that_run(
    workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            workers.submit(lambda: 1)
    may_end = threading.Event()
    first = workers.submit(may_end.wait)
    monkeypatch.setattr(threading.Thread, "start", refuse)
    second = workers.submit(lambda: 2)
    may_end.set()
    assert (first.result(10), second.result(10)) == (True, 2)


def test_threads_of_workers_that_nobody_closed_end_with_them() -> None:
    workers = Workers("posewire-test")
    workers.submit(lambda: None).result(10)
    (thread,) = threads()
    del workers
    gc.collect()
    thread.join(10)
    assert not thread.is_alive()


def test_the_interpreter_goes_down_after_the_work_that_is_under_way() -> None:
    program = """
import threading, time
from posewire._threads.workers import Workers
begun, workers = threading.Event(), Workers("posewire-test")
def work():
    begun.set()
    time.sleep(0.2)
    print("done", flush=True)
workers.submit(work)
begun.wait()
workers.close()
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert run.stdout == "done\n"
