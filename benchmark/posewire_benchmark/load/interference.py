"""The effect of one hostile client on the others: the same load with and without it, in turns."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from posewire_benchmark.access import access_fields
from posewire_benchmark.load.hostile import HostilePlan, HostileReport
from posewire_benchmark.load.hostile_kind import HostileKind
from posewire_benchmark.load.options import BoxesFrom, LoadOptions
from posewire_benchmark.load.planned_process import planned_process
from posewire_benchmark.load.result import LoadResult
from posewire_benchmark.load.rig import LoadRig, on_rig
from posewire_benchmark.load.statistics import median_ratio, shortcomings_of
from posewire_server.ranges import check_range

__all__ = [
    "Interference",
    "InterferenceOptions",
    "InterferenceRound",
    "measure_interference",
    "run_interference",
]


_BEGIN_TIMEOUT_S = 60.0
# Latency is that of results. If more frames are dropped or failed, the p95 of all frames has no value.
_MOST_WITHOUT_RESULT = 0.05


@dataclass(frozen=True, kw_only=True)
class InterferenceOptions:
    """The load, and the client that disturbs it.

    Attributes:
        load: of the well-behaved clients.
        kind: of the hostile client.
        rounds: number of rounds, each with one measurement with it and one without.

    Raises:
        ValueError: a value is out of range.
    """

    load: LoadOptions = field(default_factory=LoadOptions)
    kind: HostileKind = HostileKind.FLOOD
    rounds: int = 3

    def __post_init__(self) -> None:
        check_range("rounds", self.rounds, 1, 100)


@dataclass(frozen=True)
class InterferenceRound:
    """Two measurements, one right after the other.

    Attributes:
        without_p95_ms: latency of the well-behaved clients alone; None: nothing was answered.
        with_p95_ms: their latency beside the hostile client.
        ratio: with / without; None if one is missing.
        hostile: what the hostile client did.
        faults: why the round is not valid; empty if it is.
    """

    without_p95_ms: float | None
    with_p95_ms: float | None
    ratio: float | None
    hostile: HostileReport
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Interference:
    """The result.

    Attributes:
        kind: of the hostile client.
        ratio: median over the valid rounds; None if there are none.
        rounds: in order.
        without: the last measurement of the well-behaved clients alone.
        beside: the last measurement beside the hostile client.
    """

    kind: HostileKind
    ratio: float | None
    rounds: tuple[InterferenceRound, ...]
    without: LoadResult
    beside: LoadResult

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """Why there is no answer."""
        return shortcomings_of(self.rounds)

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self) | {"valid": not self.shortcomings}

    def as_text(self) -> str:
        """Human-readable lines."""
        lines = [self.beside.as_text(), "", "p95 without    with   ratio   attacks   its cores"]
        for each in self.rounds:
            without, beside, ratio = (
                "-" if value is None else f"{value:.{digits}f}"
                for value, digits in ((each.without_p95_ms, 1), (each.with_p95_ms, 1), (each.ratio, 2))
            )
            lines.append(
                f"{without:>11} {beside:>7} {ratio:>7} {each.hostile.attacks:9d} {each.hostile.cores:11.2f}"
                f"   {'; '.join(each.faults)}"
            )
        told, why = ("-", "; no valid round") if self.ratio is None else (f"{self.ratio:.2f}", "")
        return "\n".join([*lines, "", f"{self.kind}: p95 of the others is {told} of what it was   (below 1.2){why}"])


def measure_interference(options: InterferenceOptions) -> Interference:
    """Measure in turns, so that slow moments of the machine affect both.

    Raises:
        RuntimeError, SourceError, CallError, ValueError: see `measure_load`.
    """
    # One for the hostile client, and a new one for the others in each measurement, so that the streams they opened
    # before do not count against them, as they do against the hostile client.
    callers = 1 + 2 * options.rounds
    return on_rig(options.load, lambda rig: run_interference(rig, options), callers=callers)


async def run_interference(rig: LoadRig, options: InterferenceOptions) -> Interference:
    """The measurements themselves, on a prepared rig."""
    rounds = []
    for number in range(options.rounds):
        one, another = rig.as_caller(2 * number + 1), rig.as_caller(2 * number + 2)
        # Every other round in the opposite order, so that drift favours neither.
        if number % 2:
            beside, hostile = await _beside(one, rig, options.kind)
            alone = await another.measure()
        else:
            alone = await one.measure()
            beside, hostile = await _beside(another, rig, options.kind)
        rounds.append(_round(alone, beside, hostile))
    return Interference(
        kind=options.kind,
        ratio=median_ratio(rounds),
        rounds=tuple(rounds),
        without=alone,
        beside=beside,
    )


def _round(alone: LoadResult, beside: LoadResult, hostile: HostileReport) -> InterferenceRound:
    without = None if alone.latency is None else alone.latency.p95
    with_it = None if beside.latency is None else beside.latency.p95
    ratio = None if without is None or with_it is None else with_it / without
    faults = _faults(alone, "without the hostile client") + _faults(beside, "beside it")
    return InterferenceRound(without, with_it, ratio, hostile, faults)


def _faults(result: LoadResult, when: str) -> tuple[str, ...]:
    share = (result.frames.dropped + result.frames.failed) / max(result.frames.due, 1)
    if share <= _MOST_WITHOUT_RESULT:
        return result.faults
    return (*result.faults, f"{share:.0%} of the frames were dropped or failed {when}, so a p95 of results is too low")


async def _beside(others: LoadRig, attacker: LoadRig, kind: HostileKind) -> tuple[LoadResult, HostileReport]:
    async with _attack(attacker, kind) as attack:
        await attack.begun()
        result = await others.measure()
        return result, await attack.stop()


class _Attack:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def begun(self) -> None:
        """Wait until its first attack has reached the server."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), _BEGIN_TIMEOUT_S)
        except TimeoutError:
            line = b""
        if not line:
            raise RuntimeError("the hostile client did not get through to the server")

    async def stop(self) -> HostileReport:
        """End it and return its report."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # ends it
        told = await self._process.stdout.read()
        await self._process.wait()
        if not told:
            raise RuntimeError(f"the hostile client ended early (exit status {self._process.returncode})")
        return HostileReport(**json.loads(told))


@asynccontextmanager
async def _attack(rig: LoadRig, kind: HostileKind) -> AsyncIterator[_Attack]:
    plan = HostilePlan(
        kind=kind,
        access=access_fields(rig.accesses[0]),
        footage=str(rig.footage[0]),
        with_boxes=rig.options.boxes is BoxesFrom.CALLER,
    )
    async with planned_process("posewire_benchmark.load.hostile", dataclasses.asdict(plan)) as process:
        yield _Attack(process)
