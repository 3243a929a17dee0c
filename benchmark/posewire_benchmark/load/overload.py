"""Twice the load that the server can carry: results must stay fresh all the time."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from posewire.cli.quantities import quantity
from posewire_benchmark.load.options import LoadOptions
from posewire_benchmark.load.result import LoadResult
from posewire_benchmark.load.rig import LoadRig, on_rig
from posewire_benchmark.load.statistics import window_medians_ms
from posewire_benchmark.load.summary import Measured, summarise
from posewire_server.ranges import check_range
from posewire_server.streams.inbox import DropPolicy

__all__ = ["Overload", "OverloadOptions", "growth", "measure_overload", "run_overload"]

# If less than this share of the frames is answered, the server is at its limit.
_CARRIED_SHARE = 0.9
# If more than this share is answered, there was no overload: the limit was underestimated.
_ALL_SHARE = 0.95
_MOST_DOUBLINGS = 10
_SERVICE_FPS = 2.0
_SEARCH_S = 5.0
_TIMES_TOO_MUCH = 2.0
# Number of parts of the overload, each of which is checked.
_WINDOWS = 10
# Largest median age of results, in frame intervals, on top of one service time.
_MOST_INTERVALS = 3.0
# Largest ratio of the age in the last third of the time to that in the first.
_MOST_GROWTH = 1.2


@dataclass(frozen=True, kw_only=True)
class OverloadOptions:
    """How the overload is generated and observed.

    Attributes:
        load: its streams; the search for the server's limit starts with its `fps`.
        seconds: duration of the overload.

    Raises:
        ValueError: a value is out of range, or frames are not dropped.
    """

    load: LoadOptions = field(default_factory=LoadOptions)
    seconds: float = 30.0

    def __post_init__(self) -> None:
        check_range("seconds", self.seconds, 1.0, 86_400.0)
        if self.load.drop_policy is not DropPolicy.LATEST:
            raise ValueError("an overload is answered by drops: use the drop policy latest")


@dataclass(frozen=True, kw_only=True)
class Overload:
    """The effect of the overload.

    Attributes:
        service_ms: median time that the otherwise idle server takes for a frame.
        carried_fps: largest number of results per second, all streams together.
        interval_ms: between two frames of a stream in the overload.
        bound_ms: on the median age of results: some frame intervals and one service time.
        windows_ms: median age of results on arrival, for each part of the time; None: no results arrived.
        worst_ms: the largest of these; None if a part has no results.
        growth: age in the last third of the time, as a multiple of that in the first.
        memory_growth_mb: of the server during the overload; None: unknown.
        faults: why the results do not stay fresh, or why that cannot be determined; empty if they do.
        result: all figures of the overload.
    """

    service_ms: float
    carried_fps: float
    interval_ms: float
    bound_ms: float
    windows_ms: tuple[float | None, ...]
    worst_ms: float | None
    growth: float | None
    memory_growth_mb: float | None
    faults: tuple[str, ...]
    result: LoadResult

    @property
    def holds(self) -> bool:
        """Whether the age stayed below the bound and did not grow, for every stream."""
        return not self.faults

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """Why the check failed; empty if it did not."""
        return self.faults

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self) | {"holds": self.holds}

    def as_text(self) -> str:
        """Human-readable lines."""
        windows = " ".join("-" if age is None else f"{age:.0f}" for age in self.windows_ms)
        worst = "-" if self.worst_ms is None else f"{self.worst_ms:.1f} ms"
        growth_text = "-" if self.growth is None else f"{self.growth:.2f}"
        lines = [
            self.result.as_text(),
            "",
            f"can be carried               {self.carried_fps:8.1f} fps; a frame alone takes {self.service_ms:.1f} ms",
            f"frame interval               {self.interval_ms:8.1f} ms",
            f"median age of results, in time: {windows} ms",
            f"  worst                      {worst:>11}   (below {self.bound_ms:.1f} ms)",
            f"  last third / first third   {growth_text:>8}",
        ]
        if self.memory_growth_mb is not None:
            lines.append(f"memory of the server         {self.memory_growth_mb:+8.1f} MB")
        verdict = "the results stay fresh"
        if self.faults:
            verdict = f"THE RESULTS DO NOT STAY FRESH: {'; '.join(self.faults)}"
        return "\n".join([*lines, verdict])


def measure_overload(options: OverloadOptions) -> Overload:
    """Find the server's limit, exceed it, and observe; takes a minute or two.

    Raises:
        RuntimeError, SourceError, CallError, ValueError: see `measure_load`; also if nothing is ever answered.
    """
    return on_rig(options.load, lambda rig: run_overload(rig, options))


async def run_overload(rig: LoadRig, options: OverloadOptions) -> Overload:
    """The measurements themselves, on a prepared rig."""
    streams = options.load.streams
    alone = await rig.measure(streams=1, fps=min(_SERVICE_FPS, options.load.fps), seconds=_SEARCH_S)
    carried_fps = await _carried_fps(rig, options.load.fps) if "total" in alone.stages else 0.0
    if not carried_fps:
        raise RuntimeError("the server tracked nothing; look at its log")
    service_ms = alone.stages["total"].p50
    fps = _TIMES_TOO_MUCH * carried_fps / streams
    measured = await rig.record(fps=fps, seconds=options.seconds)
    windows = window_medians_ms(measured.records, measured.begin_s, measured.end_s, _WINDOWS)
    told = [age for age in windows if age is not None]
    worst = max(told) if len(told) == len(windows) else None
    interval_ms, grown, result = 1e3 / fps, growth(windows), summarise(measured)
    bound_ms = _MOST_INTERVALS * interval_ms + service_ms
    return Overload(
        service_ms=service_ms,
        carried_fps=carried_fps,
        interval_ms=interval_ms,
        bound_ms=bound_ms,
        windows_ms=tuple(windows),
        worst_ms=worst,
        growth=grown,
        memory_growth_mb=_memory_growth_mb(measured),
        faults=tuple(_faults(result, worst, bound_ms, grown)),
        result=result,
    )


def _faults(result: LoadResult, worst_ms: float | None, bound_ms: float, grown: float | None) -> Iterator[str]:
    if not result.valid:
        yield "the figures do not count"
    if result.answered_fps > _ALL_SHARE * result.offered_fps:
        yield "there was no overload, nearly all frames were answered; measure again, with nothing else on the machine"
    if result.fairness.starved:
        yield f"{quantity(result.fairness.starved, 'stream')} without a result"
    if worst_ms is None:
        yield "a part of the time without a result"
    elif worst_ms >= bound_ms:
        yield f"{worst_ms:.1f} ms old at worst"
    if grown is not None and grown > _MOST_GROWTH:
        yield f"{grown:.2f} times as old in the end"


def _memory_growth_mb(measured: Measured) -> float | None:
    if measured.before is None or measured.after is None:
        return None
    before, after = (told.get("process_resident_memory_bytes") for told in (measured.before, measured.after))
    return None if before is None or after is None else (after - before) / 1e6


async def _carried_fps(rig: LoadRig, fps: float) -> float:
    """Results per second of the overloaded server; the load is doubled until it is overloaded."""
    carried = 0.0
    for _ in range(_MOST_DOUBLINGS):
        result = await rig.measure(fps=fps, seconds=_SEARCH_S)
        carried = max(carried, result.answered_fps)
        if result.answered_fps < _CARRIED_SHARE * result.offered_fps:
            return carried
        fps *= 2
    raise RuntimeError(f"{fps / 2:g} fps per stream do not overload this server; use more streams")


def growth(windows: Sequence[float | None]) -> float | None:
    """The median of the last third as a multiple of that of the first; None if one of them is empty."""
    third = len(windows) // 3
    first = [age for age in windows[:third] if age is not None]
    last = [age for age in windows[-third:] if age is not None]
    return statistics.median(last) / statistics.median(first) if first and last else None
