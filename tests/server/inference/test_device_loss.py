from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import torch

from posewire_server.inference.device_loss import DeviceLoss
from posewire_server.workers import Workers

_LIMIT_S = 120


@pytest.fixture
def workers() -> Iterator[Workers]:
    workers = Workers(1, "test")
    yield workers
    workers.close()


def _seconds_pass(loss: DeviceLoss, count: int) -> None:
    for _ in range(count):
        loss.second_passed()


async def test_a_gpu_hangs_when_a_call_does_not_return_for_long(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    loss, began, go_on = DeviceLoss(torch.device("cuda", 0)), threading.Event(), threading.Event()

    def call() -> None:
        began.set()
        go_on.wait(30)

    calling = workers.run(call)
    began.wait(30)
    _seconds_pass(loss, _LIMIT_S)
    assert not loss.noticed.is_set()
    _seconds_pass(loss, 1)
    go_on.set()
    await calling
    assert loss.noticed.is_set()
    assert loss.reason == "hangs: a call has not returned for 120 s"
    (line,) = caplog.records
    assert line.getMessage() == "cuda:0 hangs: a call on thread test-1 has not returned for 120 s"
    assert "in call\n" in vars(line)["posewire_facts"]["stack"]


async def test_a_thread_that_is_always_at_work_does_not_hang(workers: Workers) -> None:
    loss, turns = DeviceLoss(torch.device("cuda", 0)), threading.Semaphore(0)
    for call in [workers.run(turns.acquire) for _ in range(4)]:
        _seconds_pass(loss, _LIMIT_S // 3)
        turns.release()
        await call
    assert not loss.noticed.is_set()


async def test_a_cpu_is_not_watched() -> None:
    await asyncio.wait_for(DeviceLoss(torch.device("cpu")).watch(), 30)
