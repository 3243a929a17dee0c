from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_benchmark.load.capacity import CapacityOptions, seek_capacity, seek_most
from posewire_benchmark.load.generator_process import StreamsRefused
from posewire_benchmark.load.options import LoadOptions
from posewire_benchmark.load.result import LoadResult
from posewire_benchmark.tables import TABLES
from posewire_server.streams.inbox import DropPolicy
from tests.benchmark.simulated import SimulatedRig


def most(capacity: int, *, first: int, most: int, resolution: float) -> tuple[int, list[int]]:
    tried: list[int] = []

    async def meets(number: int) -> bool:
        tried.append(number)
        return number <= capacity

    return asyncio.run(seek_most(meets, first=first, most=most, resolution=resolution)), tried


@given(st.integers(0, 300), st.integers(1, 200), st.integers(1, 300))
def test_the_search_finds_the_largest_number(capacity: int, first: int, limit: int) -> None:
    found, tried = most(capacity, first=first, most=limit, resolution=0.0)
    assert found == min(capacity, limit)
    assert max(tried) <= limit
    assert found == 0 or tried.count(found) >= 2


@given(st.integers(1, 2000), st.floats(0.01, 0.3))
def test_a_coarse_search_is_off_by_no_more_than_its_resolution(capacity: int, resolution: float) -> None:
    found, _ = most(capacity, first=1, most=4000, resolution=resolution)
    assert found <= capacity < found + max(1.0, resolution * found) + 1


@given(st.integers(1, 60), st.integers(0, 2**30))
def test_the_answer_has_been_met_twice_in_a_row(capacity: int, chances: int) -> None:
    tried: list[tuple[int, bool]] = []

    async def meets(number: int) -> bool:
        by_chance = bool(chances >> (len(tried) % 30) & 1)
        tried.append((number, number <= capacity and not by_chance))
        return tried[-1][1]

    found = asyncio.run(seek_most(meets, first=4, most=100, resolution=0.0))
    assert found <= capacity
    if found:
        assert tried[-1] == (found, True)
        assert (found, True) in tried[:-1]


@pytest.mark.parametrize(
    ("service_ms", "policy", "streams"),
    [
        # one frame after another: 1000 / (service * 10 fps)
        (10.0, DropPolicy.LATEST, 10),
        (9.0, DropPolicy.LATEST, 11),
        # where frames are not dropped but queue up, the latency tells
        (10.0, DropPolicy.ALL, 10),
        # not even one
        (150.0, DropPolicy.LATEST, 0),
    ],
)
def test_the_capacity_of_a_known_server_is_found(service_ms: float, policy: DropPolicy, streams: int) -> None:
    load = LoadOptions(fps=10.0, seconds=4.0, warm_up_s=1.0, drop_policy=policy)
    options = CapacityOptions(load=load, latency_bound_ms=100.0, resolution=0.0, most_streams=64)
    rig = SimulatedRig(load, service_ms / 1e3)
    found = asyncio.run(seek_capacity(options, lambda number: rig.measure(streams=number)))
    assert found.streams == streams
    assert found.limited_by == "server"
    assert all(bool(step.faults) == (step.streams > streams) for step in found.steps)
    if streams:
        assert found.result.streams == streams
        assert f"{streams} streams at 10 fps: p95 <= 100 ms" in found.as_text()


def test_a_late_generator_is_not_taken_for_a_full_server() -> None:
    load = LoadOptions(fps=10.0, seconds=1.0, warm_up_s=0.0)
    rig = SimulatedRig(load, 0.001, lateness_s=0.02)
    found = asyncio.run(seek_capacity(CapacityOptions(load=load), lambda number: rig.measure(streams=number)))
    assert (found.streams, found.limited_by) == (0, "generator")
    assert not found.result.valid
    assert "the generator was late" in found.as_text()


def test_a_server_that_breaks_streams_off_is_not_taken_for_a_late_generator() -> None:
    load = LoadOptions(fps=5.0, seconds=2.0, warm_up_s=0.0)
    rig = SimulatedRig(load, 0.001, broken={4})
    found = asyncio.run(seek_capacity(CapacityOptions(load=load), lambda number: rig.measure(streams=number)))
    assert (found.streams, found.limited_by) == (4, "server")
    assert any("1 stream ended early" in fault for step in found.steps for fault in step.faults)


def refusing(load: LoadOptions, places: int) -> Callable[[int], Awaitable[LoadResult]]:
    rig = SimulatedRig(load, 0.001)

    async def measure(streams: int) -> LoadResult:
        if streams > places:
            raise StreamsRefused(f"the server refuses {streams} streams: {places} are open")
        return await rig.measure(streams=streams)

    return measure


def test_what_the_server_refuses_is_not_what_it_carries() -> None:
    load = LoadOptions(streams=8, fps=5.0, seconds=2.0, warm_up_s=0.0)
    found = asyncio.run(seek_capacity(CapacityOptions(load=load), refusing(load, 6)))
    assert (found.streams, found.limited_by, found.result.streams) == (6, "server's limits", 6)
    assert {step.streams for step in found.steps if step.refused} == {7, 8}
    assert "the server refuses 7 streams: 6 are open" in found.as_text()
    table = TABLES["capacity"](json.loads(json.dumps(found.as_json())))
    assert "| 7 | - | - | - | the server refuses 7 streams: 6 are open |" in table
    assert all("limited by the server's limits" in text for text in (found.as_text(), table))


def test_a_server_that_refuses_every_stream_is_told_in_its_words() -> None:
    load = LoadOptions(streams=8)
    with pytest.raises(StreamsRefused, match="refuses 1 streams: 0 are open"):
        asyncio.run(seek_capacity(CapacityOptions(load=load), refusing(load, 0)))


def test_what_was_not_tried_limits_it_too() -> None:
    load = LoadOptions(fps=1.0, seconds=2.0, warm_up_s=0.0)
    rig = SimulatedRig(load, 0.001)
    options = CapacityOptions(load=load, most_streams=5)
    found = asyncio.run(seek_capacity(options, lambda number: rig.measure(streams=number)))
    assert (found.streams, found.limited_by) == (5, "search")


@pytest.mark.parametrize(
    "setting",
    [
        {"percentile": 90},
        {"latency_bound_ms": 0.0},
        {"most_lost_share": 1.5},
        {"most_streams": 0},
        {"load": LoadOptions(streams=257)},
    ],
)
def test_options_out_of_range(setting: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"it is one of|must lie in"):
        CapacityOptions(**setting)  # type: ignore[arg-type]
