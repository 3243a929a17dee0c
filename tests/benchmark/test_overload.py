from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from posewire_benchmark.load.options import LoadOptions
from posewire_benchmark.load.overload import OverloadOptions, growth, run_overload
from posewire_benchmark.load.server_metrics import Scrape
from posewire_benchmark.load.summary import Measured
from posewire_benchmark.tables import TABLES
from posewire_server.streams.inbox import DropPolicy
from tests.benchmark.simulated import SimulatedRig

LOAD = LoadOptions(fps=10.0, warm_up_s=0.5)


@pytest.mark.parametrize("streams", [1, 4])
def test_a_server_that_drops_stays_fresh(streams: int) -> None:
    load = LoadOptions(streams=streams, fps=10.0, warm_up_s=0.5)
    found = asyncio.run(run_overload(SimulatedRig(load, 0.02), OverloadOptions(load=load, seconds=4.0)))  # type: ignore[arg-type]
    assert found.carried_fps == pytest.approx(50, rel=0.05)
    assert found.result.offered_fps == pytest.approx(100, rel=0.05)
    assert found.service_ms == pytest.approx(20)
    assert found.interval_ms == pytest.approx(10 * streams, rel=0.05)
    assert found.holds
    assert found.worst_ms is not None
    assert found.worst_ms < found.bound_ms
    assert "stay fresh" in found.as_text()


def test_a_server_that_hoards_does_not() -> None:
    rig = SimulatedRig(LOAD, 0.02, hoards=True)
    found = asyncio.run(run_overload(rig, OverloadOptions(load=LOAD, seconds=4.0)))  # type: ignore[arg-type]
    assert not found.holds
    assert found.growth is not None
    assert found.growth > 2
    assert "DO NOT STAY FRESH" in found.as_text()


def test_a_server_that_is_late_all_the_time_does_not_either() -> None:
    rig = SimulatedRig(LOAD, 0.02, delay_s=0.1)
    found = asyncio.run(run_overload(rig, OverloadOptions(load=LOAD, seconds=4.0)))  # type: ignore[arg-type]
    assert found.growth == pytest.approx(1, rel=0.1)
    assert not found.holds


def test_a_load_that_was_found_too_low_overloads_nobody() -> None:
    class Disturbed(SimulatedRig):
        """Another program takes most of the time until the search is over."""

        async def record(self, **load: Any) -> Measured:
            self._service_s = 0.08 if len(self.measured) < 3 else 0.02
            return await super().record(**load)

    found = asyncio.run(run_overload(Disturbed(LOAD, 0.08), OverloadOptions(load=LOAD, seconds=4.0)))  # type: ignore[arg-type]
    assert found.carried_fps == pytest.approx(12.5, rel=0.05)
    assert found.result.lost_share == 0
    assert not found.holds
    assert "there was no overload" in found.as_text()


def test_a_server_that_lets_streams_down_does_not_hold_by_what_is_left() -> None:
    load = LoadOptions(streams=8, fps=10.0, warm_up_s=0.5)
    rig = SimulatedRig(load, 0.02, broken=range(1, 8))
    found = asyncio.run(run_overload(rig, OverloadOptions(load=load, seconds=4.0)))  # type: ignore[arg-type]
    assert found.worst_ms is not None
    assert found.worst_ms < found.bound_ms
    assert not found.holds
    assert found.faults == ("the figures do not count", "7 streams without a result")
    assert "**no**: the figures do not count" in TABLES["overload"](json.loads(json.dumps(found.as_json())))


def test_how_much_memory_the_server_has_taken_meanwhile() -> None:
    class Greedy(SimulatedRig):
        async def record(self, **load: Any) -> Measured:
            before, after = (Scrape({"process_resident_memory_bytes": taken}) for taken in (100e6, 150e6))
            return dataclasses.replace(await super().record(**load), before=before, after=after)

    found = asyncio.run(run_overload(Greedy(LOAD, 0.02), OverloadOptions(load=LOAD, seconds=4.0)))  # type: ignore[arg-type]
    assert found.memory_growth_mb == 50.0
    assert "+50.0 MB" in found.as_text()


def test_a_server_that_answers_nothing_any_more_is_told() -> None:
    rig = SimulatedRig(LOAD, 8.0)  # nothing within the time of a search
    with pytest.raises(RuntimeError, match="the server tracked nothing"):
        asyncio.run(run_overload(rig, OverloadOptions(load=LOAD, seconds=4.0)))  # type: ignore[arg-type]


def test_growth_compares_thirds_and_needs_both() -> None:
    assert growth([10.0, 10.0, 99.0, 99.0, 20.0, 20.0]) == 2.0
    assert growth([None, None, 5.0, 5.0, 5.0, 5.0]) is None


def test_an_overload_needs_drops() -> None:
    with pytest.raises(ValueError, match="drop policy latest"):
        OverloadOptions(load=LoadOptions(drop_policy=DropPolicy.ALL))
