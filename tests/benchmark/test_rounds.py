"""Comparisons made in rounds, some of which do not count."""

from __future__ import annotations

import asyncio
import json

import pytest

from posewire_benchmark.load.hostile import HostileReport
from posewire_benchmark.load.hostile_kind import HostileKind
from posewire_benchmark.load.interference import Interference, InterferenceRound
from posewire_benchmark.load.options import LoadOptions
from posewire_benchmark.load.scaling import ScalingOptions, ScalingRound, run_scaling
from posewire_benchmark.load.statistics import median_ratio, shortcomings_of
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
    told = "; ".join(["no round counts", *given[-1][1]])
    assert shortcomings_of(rounds(*given)) == (() if median is not None else (told,))


def test_many_against_one_where_no_round_counts() -> None:
    load = LoadOptions(streams=2, fps=100.0, seconds=1.0, warm_up_s=0.0)
    rig = SimulatedRig(load, 0.02, lateness_s=0.02)
    found = asyncio.run(run_scaling(rig, ScalingOptions(load=load, rounds=2)))  # type: ignore[arg-type]
    assert [each.ratio is None for each in found.rounds] == [False, False]
    assert found.as_text().endswith("2 streams have - of the throughput of one; no round counts")
    assert TABLES["scaling"](json.loads(json.dumps(found.as_json()))).endswith("Median ratio **-**; no round counts.")


def test_beside_a_hostile_client_where_no_round_counts() -> None:
    result = asyncio.run(SimulatedRig(LoadOptions(seconds=1.0), 0.01).measure())
    only = InterferenceRound(10.0, 10.0, 1.0, HostileReport(attacks=1, cores=0.0), LATE)
    ratio = median_ratio([only])
    found = Interference(kind=HostileKind.FLOOD, ratio=ratio, rounds=(only,), without=result, beside=result)
    assert found.as_text().endswith("flood: p95 of the others is - of what it was   (below 1.2); no round counts")
    table = TABLES["hostile"](json.loads(json.dumps(found.as_json())))
    assert table.endswith("Median ratio **-** (wanted: below 1.2); no round counts.")
