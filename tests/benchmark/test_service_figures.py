"""The figures of `posewire bench service`, from times that are known."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from posewire.cli.access import ServerAccess
from posewire_benchmark.service import measurements
from posewire_benchmark.service.measurements import Memory, Throughput, memory, service_cost, throughput
from posewire_benchmark.service.options import BenchmarkOptions
from posewire_benchmark.service.streams import FrameCost, one_by_one, through_server
from posewire_server.config import ServerConfig

OPTIONS = BenchmarkOptions(
    server=ServerConfig(detector="none"), frames=20, rounds=3, memory_frames=100, memory_streams=4
)


class Served:
    """Stands in for a server; its memory grows by 1 MB a frame."""

    access = ServerAccess()

    def __init__(self) -> None:
        self.streams: list[int] = []  # frames of each

    def memory_mb(self) -> float:
        return 100.0 + sum(self.streams)


class Clip:
    """Stands in for footage."""

    def play(self, count: int) -> range:
        return range(count)


def test_what_the_service_adds_is_what_is_neither_decoding_nor_networks() -> None:
    cost = FrameCost(round_trip=20.0, in_server=15.0, decode=3.0, networks=8.0, tracker=1.0)
    assert (cost.service, cost.grpc, cost.scheduling) == (9.0, 5.0, 3.0)


async def test_the_first_frames_are_not_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    async def one_by_one(_: ServerAccess, frames: range, *, with_boxes: bool) -> list[FrameCost]:
        assert with_boxes
        cold = [FrameCost(1000.0, 999.0, 998.0, 1.0, 1.0)] * 20
        return cold + [FrameCost(20.0 + number, 15.0, 3.0, 8.0, 1.0) for number in range(len(frames) - len(cold))]

    monkeypatch.setattr(measurements, "one_by_one", one_by_one)
    served: Any = Served()
    clip: Any = Clip()
    cost = await service_cost(served, clip, OPTIONS)
    assert (cost.round_trip_ms, cost.service_ms, cost.grpc_ms) == (29.5, 18.5, 14.5)
    assert (cost.decode_ms, cost.networks_ms, cost.scheduling_ms, cost.tracker_ms) == (3.0, 8.0, 3.0, 1.0)
    assert cost.service_p95_ms == pytest.approx(27, abs=0.1)


async def test_the_ratio_is_that_of_the_server_to_the_pipeline(monkeypatch: pytest.MonkeyPatch) -> None:
    in_process_s = iter([0.0, 0.5, 0.25, 2.0])  # the first one is no round

    async def through_server(_: ServerAccess, frames: Sequence[int], *, with_boxes: bool) -> float:
        return 1.0

    async def through_pipeline(*_: object, with_boxes: bool) -> float:
        return next(in_process_s)

    monkeypatch.setattr(measurements, "through_server", through_server)
    monkeypatch.setattr(measurements, "through_pipeline", through_pipeline)
    served: Any = Served()
    clip: Any = Clip()
    assert await throughput(served, None, clip, OPTIONS) == Throughput(20.0, 40.0, 0.5)  # type: ignore[arg-type]


async def test_memory_is_read_after_frames_and_after_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    served: Any = Served()
    clip: Any = Clip()

    async def one_by_one(_: ServerAccess, frames: range, *, with_boxes: bool) -> None:
        served.streams.append(len(frames))

    monkeypatch.setattr(measurements, "one_by_one", one_by_one)
    assert await memory(served, clip, OPTIONS) == Memory(100, 110.0, 200.0, 4, 212.0)
    assert served.streams == [10, 90, 3, 3, 3, 3]


async def test_a_server_that_has_ended_is_told_as_such(unused_tcp_port: int) -> None:
    access = ServerAccess(addresses=(f"127.0.0.1:{unused_tcp_port}",))
    for send in (one_by_one, through_server):
        with pytest.raises(RuntimeError, match="the server ended a stream: UNAVAILABLE"):
            await send(access, [], with_boxes=True)
