from __future__ import annotations

import asyncio
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
