"""Capacity of a server: the largest number of streams that meet a latency bound, found by measuring."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from posewire.cli.quantities import quantity
from posewire_benchmark.load.generator_process import StreamsRefused
from posewire_benchmark.load.options import LoadOptions
from posewire_benchmark.load.result import LoadResult
from posewire_benchmark.load.rig import on_rig
from posewire_server.ranges import check_range

__all__ = ["Capacity", "CapacityOptions", "CapacityStep", "find_capacity", "seek_capacity", "seek_most"]

_PERCENTILES = (50, 95, 99, 100)


@dataclass(frozen=True, kw_only=True)
class CapacityOptions:
    """The requirements on the streams.

    Attributes:
        load: of each measurement; the search starts with its `streams`.
        latency_bound_ms: maximum of the percentile of the latency.
        percentile: 50, 95, 99 or 100.
        most_lost_share: maximum share of due frames that are dropped, failed or unanswered, 0..1.
        most_streams: maximum number of streams to try.
        resolution: the search ends when the answer is known to within this share of it.

    Raises:
        ValueError: a value is out of range.
    """

    load: LoadOptions = field(default_factory=LoadOptions)
    latency_bound_ms: float = 80.0
    percentile: int = 95
    most_lost_share: float = 0.01
    most_streams: int = 256
    resolution: float = 0.03

    def __post_init__(self) -> None:
        if self.percentile not in _PERCENTILES:
            raise ValueError(f"percentile is {self.percentile}; it is one of {', '.join(map(str, _PERCENTILES))}")
        for name, low, high in (
            ("latency_bound_ms", 0.1, 1e6),
            ("most_lost_share", 0.0, 1.0),
            ("most_streams", 1, 5000),
            ("resolution", 0.0, 0.5),
        ):
            check_range(name, getattr(self, name), low, high)
        check_range("streams", self.load.streams, 1, self.most_streams)

    def faults_of(self, result: LoadResult) -> tuple[str, ...]:
        """Why a load does not meet the requirements; empty if it does."""
        faults = list(result.faults)
        latency = math.inf if result.latency is None else result.latency.at(self.percentile)
        if latency > self.latency_bound_ms:
            faults.append(f"p{self.percentile} {latency:.1f} ms, bound {self.latency_bound_ms:g} ms")
        if result.lost_share > self.most_lost_share:
            faults.append(f"{result.lost_share:.1%} lost, allowed {self.most_lost_share:.1%}")
        return tuple(faults)


@dataclass(frozen=True)
class CapacityStep:
    """One measurement of the search.

    Attributes:
        streams: number of streams.
        latency_ms: the chosen percentile; None: nothing was answered.
        lost_share: of the due frames; None: the server refused the streams.
        server_cores: processor cores that the server kept busy; None: unknown.
        faults: why it does not meet the requirements; empty if it does.
        late: whether the generators fell behind their schedule.
        refused: whether the server refused to open this many streams, so that nothing was measured.
    """

    streams: int
    latency_ms: float | None
    lost_share: float | None
    server_cores: float | None
    faults: tuple[str, ...]
    late: bool
    refused: bool = False


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """The answer, and how it was found.

    Attributes:
        streams: the largest number that met the requirements twice in a row; 0: not even one stream does.
        fps: of each stream.
        latency_bound_ms: as requested.
        percentile: of the latency.
        most_lost_share: as requested.
        limited_by: `server` (also if it breaks off streams), `server's limits` (on open streams or on openings per
            second; the step has its message, and the server may carry more), `generator` (it was late, and the server
            may carry more) or `search` (more was not tried).
        steps: in order.
        result: of the last run that was not refused: the one that confirmed the answer, or shows why there is none.
    """

    streams: int
    fps: float
    latency_bound_ms: float
    percentile: int
    most_lost_share: float
    limited_by: str
    steps: tuple[CapacityStep, ...]
    result: LoadResult

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """Why the answer is not valid."""
        return self.result.shortcomings

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self) | {"valid": not self.shortcomings}

    def as_text(self) -> str:
        """Human-readable lines."""
        lines = [self.result.as_text(), "", f"streams    p{self.percentile} ms     lost   cores"]
        for step in self.steps:
            latency = "-" if step.latency_ms is None else f"{step.latency_ms:.1f}"
            cores = "-" if step.server_cores is None else f"{step.server_cores:.2f}"
            lost = "-" if step.lost_share is None else f"{step.lost_share:.2%}"
            lines.append(f"{step.streams:7d} {latency:>9} {lost:>8} {cores:>7}   {'; '.join(step.faults)}")
        bound = f"p{self.percentile} <= {self.latency_bound_ms:g} ms with at most {self.most_lost_share:.1%} lost"
        answer = f"{quantity(self.streams, 'stream')} at {self.fps:g} fps: {bound}; limited by the {self.limited_by}"
        return "\n".join([*lines, "", answer])


def find_capacity(options: CapacityOptions) -> Capacity:
    """Find the largest number of streams that meet the requirements, on one server; takes a minute or more.

    Raises:
        RuntimeError, SourceError, CallError, ValueError: see `measure_load`.
    """
    return on_rig(
        options.load,
        lambda rig: seek_capacity(options, lambda streams: rig.measure(streams=streams)),
        most_streams=options.most_streams,
    )


async def seek_capacity(options: CapacityOptions, measure: Callable[[int], Awaitable[LoadResult]]) -> Capacity:
    """The search itself, with any function that measures.

    Raises:
        StreamsRefused: the server does not even accept one stream.
    """
    steps: list[CapacityStep] = []
    results: list[LoadResult] = []

    async def meets(streams: int) -> bool:
        try:
            result = await measure(streams)
        except StreamsRefused as refusal:
            steps.append(CapacityStep(streams, None, None, None, (str(refusal),), late=False, refused=True))
            return False
        results.append(result)
        faults = options.faults_of(result)
        latency = None if result.latency is None else result.latency.at(options.percentile)
        cores = result.utilisation.server_cores
        steps.append(CapacityStep(streams, latency, result.lost_share, cores, faults, result.late))
        return not faults

    most = await seek_most(meets, first=options.load.streams, most=options.most_streams, resolution=options.resolution)
    if not results:
        raise StreamsRefused(steps[-1].faults[0])
    missed = [step for step in steps if step.streams > most and step.faults]
    return Capacity(
        streams=most,
        fps=options.load.fps,
        latency_bound_ms=options.latency_bound_ms,
        percentile=options.percentile,
        most_lost_share=options.most_lost_share,
        limited_by=_limited_by(min(missed, key=lambda step: step.streams, default=None)),
        steps=tuple(steps),
        result=results[-1],
    )


def _limited_by(nearest: CapacityStep | None) -> str:
    """What limited the search, from the smallest step that failed."""
    if nearest is None:
        return "search"
    if nearest.refused:
        return "server's limits"
    return "generator" if nearest.late else "server"


async def seek_most(meets: Callable[[int], Awaitable[bool]], *, first: int, most: int, resolution: float) -> int:
    """The largest number that meets a condition which is harder to meet for larger numbers.

    Doubles from `first`, then halves the gap. The answer has met the condition twice in a row; if it fails the second
    time, a smaller one is tried.

    Args:
        meets: tries a number; may fail by chance.
        first: the number to start with.
        most: the largest number to try.
        resolution: largest remaining gap, as a share of the answer.

    Returns:
        0 if not even 1 does.
    """
    good, bad, number = 0, most + 1, min(first, most)
    while number < bad:
        if await meets(number):
            good = number
            number = min(2 * number, most) if number < most else bad
        else:
            bad = number
    while bad - good > max(1, math.floor(resolution * good)):
        middle = (good + bad) // 2
        if await meets(middle):
            good = middle
        else:
            bad = middle
    while good and not await meets(good):
        # It was met or missed by chance: the next smaller one must also meet it twice.
        good = max(0, good - max(1, math.floor(resolution * good)))
        while good and not await meets(good):
            good = max(0, good - max(1, math.floor(resolution * good)))
    return good
