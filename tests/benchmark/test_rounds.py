"""Comparisons made in rounds, some of which do not count."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from posewire_benchmark.load import interference
from posewire_benchmark.load.hostile import HostileReport
from posewire_benchmark.load.hostile_kind import HostileKind
from posewire_benchmark.load.interference import (
    Interference,
    InterferenceOptions,
    InterferenceRound,
    run_interference,
)
from posewire_benchmark.load.options import LoadOptions
from posewire_benchmark.load.records import Outcome
from posewire_benchmark.load.result import LoadResult
from posewire_benchmark.load.scaling import ScalingOptions, ScalingRound, run_scaling
from posewire_benchmark.load.statistics import median_ratio, shortcomings_of
from posewire_benchmark.load.summary import Measured
from posewire_benchmark.tables import TABLES
from tests.benchmark.simulated import SimulatedRig

LATE = ("the generator was late",)


def rounds(*each: tuple[float | None, tuple[str, ...]]) -> list[ScalingRound]:
    return [ScalingRound(20.0, 20.0, ratio, faults) for ratio, faults in each]


@pytest.mark.parametrize(
    ("given", "median"),
    [
        ([(1.0, ()), (3.0, ()), (2.0, ())], 2.0),
        # only what counts
        ([(1.0, LATE), (1.0, LATE), (0.3, ())], 0.3),
        # one stream had no result
        ([(None, ()), (0.5, ())], 0.5),
        ([(1.0, LATE), (None, ())], None),
    ],
)
def test_the_median_is_over_the_rounds_that_count(
    given: list[tuple[float | None, tuple[str, ...]]], median: float | None
) -> None:
    assert median_ratio(rounds(*given)) == median
    # There is no answer just where there is no median, and it is said why.
    told = "; ".join(["no valid round", *given[-1][1]])
    assert shortcomings_of(rounds(*given)) == (() if median is not None else (told,))


def test_many_are_compared_with_one_of_the_same_frames() -> None:
    class WorseAtMany(SimulatedRig):
        """A frame of several streams takes twice as long."""

        async def record(self, *, streams: int | None = None, **load: Any) -> Measured:
            self._service_s = 0.02 if streams == 1 else 0.04
            return await super().record(streams=streams, **load)

    load = LoadOptions(streams=4, fps=100.0, seconds=2.0, warm_up_s=0.5)
    rig = WorseAtMany(load, 0.0)
    found = asyncio.run(run_scaling(rig, ScalingOptions(load=load, rounds=2)))  # type: ignore[arg-type]
    assert rig.measured == [(1, 100.0), (4, 25.0)] * 2
    assert [(each.one_fps, each.many_fps) for each in found.rounds] == [(50.0, 25.0)] * 2
    assert (found.ratio, found.shortcomings) == (0.5, ())


def test_many_against_one_says_nothing_where_both_have_all_frames_answered() -> None:
    load = LoadOptions(streams=2, fps=10.0, seconds=1.0, warm_up_s=0.0)
    found = asyncio.run(run_scaling(SimulatedRig(load, 0.001), ScalingOptions(load=load, rounds=1)))  # type: ignore[arg-type]
    told = "no valid round; 1 stream had nearly all frames answered; raise --fps"
    assert found.shortcomings == (f"{told}; 2 streams had nearly all frames answered; raise --fps",)


def test_many_against_one_where_no_round_counts() -> None:
    load = LoadOptions(streams=2, fps=100.0, seconds=1.0, warm_up_s=0.0)
    rig = SimulatedRig(load, 0.02, lateness_s=0.02)
    found = asyncio.run(run_scaling(rig, ScalingOptions(load=load, rounds=2)))  # type: ignore[arg-type]
    assert [each.ratio is None for each in found.rounds] == [False, False]
    assert found.as_text().endswith("2 streams have - of the throughput of one; no valid round")
    assert TABLES["scaling"](json.loads(json.dumps(found.as_json()))).endswith("Median ratio **-**; no valid round.")


class Shared(SimulatedRig):
    """A rig of several callers, whom a hostile one slows down."""

    def __init__(self, options: LoadOptions, attacked_s: float) -> None:
        super().__init__(options, 0.0)
        self._attacked_s = attacked_s
        self.callers: list[int] = []
        self.attacked: list[bool] = []
        self.is_attacked = False

    def as_caller(self, number: int) -> Shared:
        self.callers.append(number)
        return self

    async def measure(self, **load: Any) -> LoadResult:
        self.attacked.append(self.is_attacked)
        self._service_s = self._attacked_s if self.is_attacked else 0.02
        return await super().measure(**load)


class Attack:
    def __init__(self, rig: Shared) -> None:
        self._rig = rig

    async def begun(self) -> None:
        self._rig.is_attacked = True

    async def stop(self) -> HostileReport:
        self._rig.is_attacked = False
        return HostileReport(attacks=7, cores=0.5)


async def interfered(rig: Shared, monkeypatch: pytest.MonkeyPatch) -> Interference:
    @asynccontextmanager
    async def attack(*_: object) -> AsyncIterator[Attack]:
        yield Attack(rig)

    monkeypatch.setattr(interference, "_attack", attack)
    return await run_interference(rig, InterferenceOptions(load=rig.options, rounds=2))  # type: ignore[arg-type]


async def test_the_ratio_beside_a_hostile_client_is_of_the_latency_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Shared(LoadOptions(fps=10.0, seconds=1.0, warm_up_s=0.0), 0.03)
    found = await interfered(rig, monkeypatch)
    assert [(each.without_p95_ms, each.with_p95_ms) for each in found.rounds] == [pytest.approx((20, 30))] * 2
    assert found.ratio == pytest.approx(1.5)
    assert rig.attacked == [False, True, True, False]  # what drifts favours neither
    assert rig.callers == [1, 2, 3, 4]  # so that nobody pays for what another one opened
    assert "flood: p95 of the others is 1.50 of what it was" in found.as_text()


async def test_frames_that_a_hostile_client_costs_do_not_make_the_others_fast(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Shared):
        """Every other frame fails at once, so that the rest is as fast as ever."""

        async def record(self, **load: Any) -> Measured:
            measured = await super().record(**load)
            if self.is_attacked:
                measured.records["outcome"][::2] = Outcome.FAILED
            return measured

    found = await interfered(Failing(LoadOptions(fps=10.0, seconds=1.0, warm_up_s=0.0), 0.02), monkeypatch)
    assert [each.ratio for each in found.rounds] == [pytest.approx(1)] * 2
    told = "50% of the frames were dropped or failed beside it, so a p95 of results is too low"
    assert found.shortcomings == (f"no valid round; {told}",)


def test_beside_a_hostile_client_where_no_round_counts() -> None:
    result = asyncio.run(SimulatedRig(LoadOptions(seconds=1.0), 0.01).measure())
    only = InterferenceRound(10.0, 10.0, 1.0, HostileReport(attacks=1, cores=0.0), LATE)
    ratio = median_ratio([only])
    found = Interference(kind=HostileKind.FLOOD, ratio=ratio, rounds=(only,), without=result, beside=result)
    assert found.as_text().endswith("flood: p95 of the others is - of what it was   (below 1.2); no valid round")
    table = TABLES["hostile"](json.loads(json.dumps(found.as_json())))
    assert table.endswith("Median ratio **-** (wanted: below 1.2); no valid round.")
