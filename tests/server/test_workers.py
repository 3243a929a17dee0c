from __future__ import annotations

import asyncio
import threading
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

from posewire_server.workers import Workers


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers(1, "test")
    yield workers
    workers.close()


async def test_work_gives_its_result_or_its_error(workers: Workers) -> None:
    assert await workers.run(lambda: 7) == 7
    with pytest.raises(ZeroDivisionError):
        await workers.run(lambda: 1 / 0)


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
