from __future__ import annotations

import pytest

from posewire_server.batching import BatchReport
from posewire_server.benchmark.load.accelerator import GpuUse, GpuWatch
from posewire_server.benchmark.load.server_metrics import batches_between, scrape
from posewire_server.metrics import Metrics, MetricsExporter


async def test_batches_are_those_between_two_moments(unused_port: int) -> None:
    metrics = Metrics()
    exporter = MetricsExporter(metrics, "127.0.0.1", unused_port)
    url = f"http://127.0.0.1:{unused_port}/metrics"
    try:
        metrics.batch_done(BatchReport("pose", 30, 500.0, None))  # before
        before = await scrape(url)
        for weight in (1, 1, 4, 6):
            metrics.batch_done(BatchReport("pose", weight, 10.0 * weight, None))
        after = await scrape(url)
    finally:
        exporter.close()
    assert before is not None
    assert after is not None
    assert after.get("process_resident_memory_bytes")
    batches = batches_between(before, after)
    assert batches.keys() == {"pose"}
    assert (batches["pose"].count, batches["pose"].mean_items) == (4, 3.0)
    assert batches["pose"].mean_ms == pytest.approx(30)
    assert batches["pose"].shares == {"1.0": 0.5, "4.0": 0.25, "8.0": 0.25}


async def test_a_server_that_exports_none_tells_nothing() -> None:
    assert await scrape("") is None


def test_what_a_gpu_does_not_tell_is_left_out() -> None:
    watch = GpuWatch()
    assert watch.use() is None
    for line in ("40, 10, 1000", "[N/A], [N/A], 1200", "60, 30, 1100", ""):
        watch.take(line)
    assert watch.use() == GpuUse(50.0, 20.0, 1100.0)


@pytest.fixture
def unused_port() -> int:
    import socket

    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port
