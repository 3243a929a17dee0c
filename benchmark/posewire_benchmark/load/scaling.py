"""Compares many cameras with one: results per second from the same number of frames."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from posewire.cli.quantities import quantity
from posewire_benchmark.load.options import LoadOptions
from posewire_benchmark.load.result import LoadResult
from posewire_benchmark.load.rig import LoadRig, on_rig
from posewire_benchmark.load.statistics import median_ratio, shortcomings_of
from posewire_server.ranges import check_range

__all__ = ["Scaling", "ScalingOptions", "ScalingRound", "measure_scaling", "run_scaling"]

# If more than this share of the frames is answered, the figure describes the load and not the server.
_ALL_SHARE = 0.95


@dataclass(frozen=True, kw_only=True)
class ScalingOptions:
    """What is compared.

    Attributes:
        load: its `fps` must be more than the server carries; one stream has all of it, or its `streams` share it.
        rounds: number of rounds, each with one measurement of both.

    Raises:
        ValueError: a value is out of range, or there is nothing to compare.
    """

    load: LoadOptions = field(default_factory=lambda: LoadOptions(streams=8))
    rounds: int = 3

    def __post_init__(self) -> None:
        check_range("rounds", self.rounds, 1, 100)
        if self.load.streams < 2:
            raise ValueError("one stream is compared with several; give --streams 2 or more")


@dataclass(frozen=True)
class ScalingRound:
    """Two measurements, one right after the other.

    Attributes:
        one_fps: results per second of one stream.
        many_fps: of several streams together.
        ratio: many / one; None if one stream has no result.
        faults: why the round is not valid; empty if it is.
    """

    one_fps: float
    many_fps: float
    ratio: float | None
    faults: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Scaling:
    """The comparison.

    Attributes:
        streams: number of streams that are compared with one.
        ratio: median over the valid rounds; None if there are none.
        rounds: in order.
        one: the last measurement of one stream.
        many: the last measurement of several.
    """

    streams: int
    ratio: float | None
    rounds: tuple[ScalingRound, ...]
    one: LoadResult
    many: LoadResult

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """Why there is no answer."""
        return shortcomings_of(self.rounds)

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self) | {"valid": not self.shortcomings}

    def as_text(self) -> str:
        """Human-readable lines."""
        lines = [self.many.as_text(), "", f"fps of one stream   of {self.streams} together   ratio"]
        for each in self.rounds:
            ratio = "-" if each.ratio is None else f"{each.ratio:.2f}"
            lines.append(f"{each.one_fps:17.1f} {each.many_fps:17.1f} {ratio:>7}   {'; '.join(each.faults)}")
        told, why = ("-", "; no valid round") if self.ratio is None else (f"{self.ratio:.2f}", "")
        return "\n".join([*lines, "", f"{self.streams} streams have {told} of the throughput of one{why}"])


def measure_scaling(options: ScalingOptions) -> Scaling:
    """Measure in turns.

    Raises:
        RuntimeError, SourceError, CallError, ValueError: see `measure_load`.
    """
    return on_rig(options.load, lambda rig: run_scaling(rig, options))


async def run_scaling(rig: LoadRig, options: ScalingOptions) -> Scaling:
    """The measurements themselves, on a prepared rig."""
    streams, fps = options.load.streams, options.load.fps
    rounds = []
    for _ in range(options.rounds):
        one = await rig.measure(streams=1, fps=fps)
        many = await rig.measure(streams=streams, fps=fps / streams)
        ratio = many.answered_fps / one.answered_fps if one.answered_fps else None
        rounds.append(ScalingRound(one.answered_fps, many.answered_fps, ratio, _faults(one) + _faults(many)))
    return Scaling(
        streams=streams,
        ratio=median_ratio(rounds),
        rounds=tuple(rounds),
        one=one,
        many=many,
    )


def _faults(result: LoadResult) -> tuple[str, ...]:
    if result.answered_fps > _ALL_SHARE * result.offered_fps:
        return (*result.faults, f"{quantity(result.streams, 'stream')} had nearly all frames answered; raise --fps")
    return result.faults
