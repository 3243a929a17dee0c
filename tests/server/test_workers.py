from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from types import SimpleNamespace

import numpy as np
import pytest

from posewire_server import workers as workers_module
from posewire_server.workers import Workers, wait_for_last_work


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers(1, "test")
    yield workers
    workers.close()


async def test_work_gives_its_result_or_its_error(workers: Workers) -> None:
    assert await workers.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 / 0)


async def test_threads_that_are_stuck_are_waited_for_together_and_once(monkeypatch: pytest.MonkeyPatch) -> None:
    stuck, go_on = threading.Barrier(4), threading.Event()
    several = [Workers(1, "test"), Workers(2, "test")]

    def work() -> None:
        stuck.wait(30)
        go_on.wait(30)

    running = [workers.run(work) for workers in (several[0], several[1], several[1])]
    await asyncio.to_thread(stuck.wait, 30)
    for workers in several:
        workers.close()  # returns at once
    now_s, waited_s = 100.0, []

    def join(_: threading.Thread, timeout: float) -> None:
        nonlocal now_s
        waited_s.append(timeout)
        now_s += timeout

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "join", join)
        patch.setattr(workers_module, "time", SimpleNamespace(monotonic=lambda: now_s))
        wait_for_last_work()
        wait_for_last_work()
    assert waited_s == [5.0, 0.0, 0.0]
    go_on.set()
    await asyncio.gather(*running)


async def test_what_is_in_work_is_waited_for(workers: Workers) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> int:
        begun.set()
        go_on.wait(30)
        return 7

    running = workers.run(work)
    await asyncio.to_thread(begun.wait, 30)
    workers.close()
    waiting = asyncio.create_task(asyncio.to_thread(wait_for_last_work))
    await asyncio.wait([waiting], timeout=0.05)
    assert not waiting.done()
    go_on.set()
    await waiting
    assert not workers._threads[0].is_alive()
    assert await running == 7


async def test_the_result_of_cancelled_work_is_discarded(workers: Workers, caplog: pytest.LogCaptureFixture) -> None:
    go_on = threading.Event()
    workers.run(lambda: go_on.wait(30)).cancel()
    go_on.set()
    assert await workers.run(lambda: 7) == 7
    assert caplog.text == ""


@pytest.mark.parametrize("again", [False, True])
async def test_who_is_cancelled_once_still_waits_for_the_end(
    again: bool, workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(30)
        raise ValueError("nobody cares any more")

    running = asyncio.create_task(workers.run_to_end(work))
    await asyncio.to_thread(begun.wait, 30)
    running.cancel()
    for _ in range(5):
        await asyncio.sleep(0)
    assert not running.done()
    if again:
        running.cancel()
    else:
        go_on.set()
    await asyncio.wait([running])
    assert running.cancelled()
    go_on.set()
    await workers.run(lambda: None)  # after it
    del running
    gc.collect()
    assert caplog.text == ""


class ThreadsWithinLimit:
    """Stands in for `threading.Thread.start` where a process may have only so many threads."""

    def __init__(self, allowed: int) -> None:
        self.allowed, self._start = allowed, threading.Thread.start

    def __call__(self, thread: threading.Thread) -> None:
        if not self.allowed:
            raise RuntimeError("can't start new thread")
        self.allowed -= 1
        self._start(thread)


async def test_fewer_threads_do_the_work_where_no_more_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = ThreadsWithinLimit(1)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: limit(thread))
    workers = Workers(3, "test")
    assert await asyncio.gather(*(workers.run(lambda value=value: value) for value in range(5))) == list(range(5))
    workers.close()


async def test_work_fails_while_no_thread_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    limit = ThreadsWithinLimit(0)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: limit(thread))
    workers = Workers(2, "test")
    with pytest.raises(RuntimeError, match="can't start new thread"):
        workers.run(lambda: 7)
    limit.allowed = 1
    assert await workers.run(lambda: 7) == 7
    workers.close()


@pytest.mark.parametrize("fails", [False, True])
async def test_a_waiting_thread_keeps_nothing(workers: Workers, fails: bool, no_cycle_collector: None) -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    kept = weakref.ref(pixels)

    def work(frame: np.ndarray) -> float:
        if fails:
            raise ValueError("a network failed")
        return float(frame.mean())

    running = workers.run(lambda frame=pixels: work(frame))
    await asyncio.wait([running])
    assert (running.exception() is not None) == fails
    del running, pixels
    async with asyncio.timeout(10):
        while kept() is not None:  # noqa: ASYNC110  the thread does not tell
            await asyncio.sleep(0.001)
