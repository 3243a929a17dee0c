from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import torch

from posewire_server.inference import device_loss
from posewire_server.inference.device_loss import DeviceLoss
from posewire_server.workers import Workers

_MANY_SECONDS = 2 * 120


@pytest.fixture
def workers(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workers]:
    monkeypatch.setattr(device_loss, "_TICK_S", 0.0)
    workers = Workers(1, "test")
    yield workers
    workers.close()


async def _seconds_pass() -> None:
    for _ in range(_MANY_SECONDS):
        await asyncio.sleep(0)


async def test_a_gpu_hangs_when_a_call_does_not_return_for_long(
    workers: Workers, caplog: pytest.LogCaptureFixture
) -> None:
    loss, go_on = DeviceLoss(torch.device("cuda", 0)), threading.Event()

    def call() -> None:
        go_on.wait(30)

    calling = workers.run(call)
    await asyncio.wait_for(loss.watch(), 30)
    go_on.set()
    await calling
    assert loss.noticed.is_set()
    assert loss.reason == "hangs: a call has not returned for 120 s"
    (line,) = caplog.records
    assert line.getMessage() == "cuda:0 hangs: a call on thread test-1 has not returned for 120 s"
    assert "in call\n" in vars(line)["posewire_facts"]["stack"]


async def test_a_thread_that_is_always_at_work_does_not_hang(workers: Workers) -> None:
    loss, turns = DeviceLoss(torch.device("cuda", 0)), threading.Semaphore(0)
    calls = [workers.run(turns.acquire) for _ in range(3)]
    watching = asyncio.create_task(loss.watch())
    for call in calls:
        for _ in range(100):  # seconds, fewer than a call may take
            await asyncio.sleep(0)
        turns.release()
        await call
    watching.cancel()
    assert not loss.noticed.is_set()


async def test_a_cpu_may_take_its_time(workers: Workers) -> None:
    loss, go_on = DeviceLoss(torch.device("cpu")), threading.Event()
    calling = workers.run(lambda: go_on.wait(30))
    watching = asyncio.create_task(loss.watch())
    await _seconds_pass()
    go_on.set()
    await calling
    await watching
    assert not loss.noticed.is_set()
