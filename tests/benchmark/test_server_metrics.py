from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from posewire_benchmark.load import accelerator
from posewire_benchmark.load.accelerator import GpuUse, GpuWatch, gpu_of, watch_gpu
from posewire_benchmark.load.server_metrics import batches_between, scrape
from posewire_server.inference.batching import BatchReport
from posewire_server.observability.metrics import Metrics, MetricsExporter


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


async def test_what_speaks_no_http_has_no_metrics() -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readline()
        writer.write(b"\x00\x00\x12\x04\x00\x00\x00\x00\x00 as HTTP/2 begins\n")
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        with pytest.raises(OSError, match=rf"no metrics can be read at http://127\.0\.0\.1:{port}/: no HTTP"):
            await scrape(f"http://127.0.0.1:{port}/")


@pytest.mark.parametrize("url", ["http://127.0.0.1:{port}/metrics", "127.0.0.1:{port}"])
async def test_where_nobody_answers_there_are_no_metrics(url: str, unused_port: int) -> None:
    with pytest.raises(OSError, match=r"no metrics can be read at \S*127\.0\.0\.1"):
        await scrape(url.format(port=unused_port))


def program(path: Path, script: str) -> Path:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return path


async def test_the_gpu_that_is_watched_is_the_one_that_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "told"
    telling = f'echo "40, 10, 1000"; echo "$1" > {told}.new; mv {told}.new {told}'
    program(tmp_path / "nvidia-smi", f"{telling}; exec sleep 60")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    async with watch_gpu("") as watch:
        pass
    assert watch.use() is None
    assert not told.exists()
    async with asyncio.timeout(30), watch_gpu("GPU-1234") as watch:
        while watch.use() is None or not told.exists():  # noqa: ASYNC110  the program is not ours
            await asyncio.sleep(0.01)
    assert told.read_text() == "--id=GPU-1234\n"


async def test_the_gpu_of_a_server_is_found_by_its_number_in_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(accelerator.sys, "executable", str(program(tmp_path / "python", 'echo "uuid-of-$4"')))
    assert await gpu_of("cuda:1 (some GPU, torch, bfloat16)") == "GPU-uuid-of-1"
    assert await gpu_of("cpu (openvino, float32)") == ""
    monkeypatch.setattr(accelerator.sys, "executable", str(program(tmp_path / "none", "exit 1")))
    assert await gpu_of("cuda:1 (some GPU, torch, bfloat16)") == ""


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
