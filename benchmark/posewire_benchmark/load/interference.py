"""What one hostile client does to the others: the same load with it and without it, in turns."""

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


@dataclass(frozen=True, kw_only=True)
class InterferenceOptions:
    """Who disturbs whom.

    Attributes:
        load: of the faithful clients.
        kind: of the hostile one.
        rounds: each is one measurement with it and one without.

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
        without_p95_ms: latency of the faithful clients when they are alone; None: nothing was answered.
        with_p95_ms: beside the hostile one.
        ratio: of these; None where one is missing.
        hostile: what the hostile client did.
        faults: why the round does not count.
    """

    without_p95_ms: float | None
    with_p95_ms: float | None
    ratio: float | None
    hostile: HostileReport
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Interference:
    """What it amounts to.

    Attributes:
        kind: of the hostile client.
        ratio: median over the rounds that count; None where none does.
        rounds: in their order.
        without: the last measurement of the faithful clients alone.
        beside: the last one beside the hostile client.
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
        """Plain values."""
        return dataclasses.asdict(self) | {"valid": not self.shortcomings}

    def as_text(self) -> str:
        """Lines for people."""
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
        told, why = ("-", "; no round counts") if self.ratio is None else (f"{self.ratio:.2f}", "")
        return "\n".join([*lines, "", f"{self.kind}: p95 of the others is {told} of what it was   (below 1.2){why}"])


def measure_interference(options: InterferenceOptions) -> Interference:
    """Measure in turns, so that a slow moment of the machine meets both.

    Raises:
        RuntimeError, SourceError, CallError, ValueError: see `measure_load`.
    """
    # The hostile one, and the others anew in each measurement: streams that were opened before are not held against
    # them, as they are against the hostile one.
    callers = 1 + 2 * options.rounds
    return on_rig(options.load, lambda rig: run_interference(rig, options), callers=callers)


async def run_interference(rig: LoadRig, options: InterferenceOptions) -> Interference:
    """The measurements themselves, on a rig that stands ready."""
    rounds = []
    for number in range(options.rounds):
        one, another = rig.as_caller(2 * number + 1), rig.as_caller(2 * number + 2)
        # The other order in every other round: what drifts favours neither.
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
    return InterferenceRound(without, with_it, ratio, hostile, alone.faults + beside.faults)


async def _beside(others: LoadRig, attacker: LoadRig, kind: HostileKind) -> tuple[LoadResult, HostileReport]:
    async with _attack(attacker, kind) as attack:
        await attack.begun()
        result = await others.measure()
        return result, await attack.stop()


class _Attack:
    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def begun(self) -> None:
        """Wait until it has got through."""
        assert self._process.stdout is not None
        try:
            line = await asyncio.wait_for(self._process.stdout.readline(), _BEGIN_TIMEOUT_S)
        except TimeoutError:
            line = b""
        if not line:
            raise RuntimeError("the hostile client did not get through to the server")

    async def stop(self) -> HostileReport:
        """End it, and hear what it did."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()  # which ends it
        told = await self._process.stdout.read()
        await self._process.wait()
        if not told:
            raise RuntimeError(f"the hostile client ended early (exit status {self._process.returncode})")
        return HostileReport(**json.loads(told))


@asynccontextmanager
async def _attack(rig: LoadRig, kind: HostileKind) -> AsyncIterator[_Attack]:
    plan = HostilePlan(
        kind=kind,
        access=access_fields(rig.access),
        footage=str(rig.footage[0]),
        with_boxes=rig.options.boxes is BoxesFrom.CALLER,
    )
    async with planned_process("posewire_benchmark.load.hostile", dataclasses.asdict(plan)) as process:
        yield _Attack(process)
