"""The results of one load, and how they are shown."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from posewire.cli.quantities import quantity
from posewire_benchmark.load.accelerator import GpuUse
from posewire_benchmark.load.server_metrics import Batches
from posewire_benchmark.load.statistics import Fairness, FrameCounts, Spread
from posewire_benchmark.machine import Machine

__all__ = ["LoadResult", "Setting", "Utilisation", "latency_row"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """The server and the composition of the load: the same for all measurements of one server.

    Attributes:
        machine: of the generators, and of the server if it is private.
        server: version and device of the server.
        models: description of its networks.
        frames: description of the clips.
        boxes: where the people's boxes come from.
        drop_policy: of the streams.
    """

    machine: Machine
    server: str
    models: str
    frames: str
    boxes: str
    drop_policy: str

    def as_lines(self) -> list[str]:
        """Human-readable lines."""
        return [
            self.machine.as_line(),
            f"server {self.server}; {self.models}",
            f"{self.frames}; boxes: {self.boxes}; drop policy {self.drop_policy}",
        ]


@dataclass(frozen=True)
class Utilisation:
    """Use of processors, memory and GPU.

    Attributes:
        server_cores: processor cores that the server kept busy; None: unknown.
        generator_cores: processor cores that all generators kept busy.
        server_memory_mb: resident memory at the end.
        gpu: of the server; None: it has none, or it is not known which.
    """

    server_cores: float | None
    generator_cores: float
    server_memory_mb: float | None
    gpu: GpuUse | None


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """The result of one load, without the warm-up.

    Attributes:
        setting: what was measured.
        streams: number of streams.
        fps: of each stream.
        seconds: duration of the measurement.
        generators: number of processes that sent.
        offered_fps: frames that were due per second, all streams together.
        answered_fps: results received per second.
        frames: outcomes of the frames.
        lost_share: share of the due frames without a result.
        latency: milliseconds from when a frame was due to its result; frames that were never answered count with the
            time that they waited.
        age: milliseconds since the frame of the newest result was due, sampled over time: the age of what a consumer
            knows.
        fairness: between streams.
        stages: milliseconds in each of the server's stages.
        people: mean number per tracked frame.
        batches: of each stage; None if the server exports no metrics.
        utilisation: processor, memory, GPU.
        lateness: milliseconds from when a frame was due to when the generator noticed it.
        late: whether that was too much, so that the load was not as specified.
        faults: why the result is not valid: late generators, broken streams.
    """

    setting: Setting
    streams: int
    fps: float
    seconds: float
    generators: int
    offered_fps: float
    answered_fps: float
    frames: FrameCounts
    lost_share: float
    latency: Spread | None
    age: Spread | None
    fairness: Fairness
    stages: dict[str, Spread]
    people: float
    batches: dict[str, Batches] | None
    utilisation: Utilisation
    lateness: Spread | None
    late: bool
    faults: tuple[str, ...]

    @property
    def valid(self) -> bool:
        """Whether the result is valid and at least one frame was tracked."""
        return not self.shortcomings

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """Why the run failed: the faults, or that nothing was tracked. In comparisons, the latter is a valid result."""
        return self.faults if self.frames.tracked else (*self.faults, "not one frame was tracked")

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self) | {"valid": self.valid, "shortcomings": list(self.shortcomings)}

    def as_text(self) -> str:
        """Human-readable lines."""
        return "\n".join([*self.setting.as_lines(), "", *self._figures()])

    def _figures(self) -> list[str]:
        counts, use, fair = self.frames, self.utilisation, self.fairness
        reasons = [f"{count} {reason}" for reason, count in (counts.drops | counts.failures).items()]
        generators = quantity(self.generators, "process", "processes")
        starved = quantity(fair.starved, "stream")
        lines = [
            f"{quantity(self.streams, 'stream')} at {self.fps:g} fps for {self.seconds:g} s, from {generators}",
            f"  offered / answered         {self.offered_fps:8.1f} / {self.answered_fps:.1f} fps",
            f"  frames due                 {counts.due:8d}",
            f"    tracked / dropped / failed {counts.tracked:6d} / {counts.dropped} / {counts.failed}"
            + (f"   ({', '.join(reasons)})" if reasons else ""),
            f"    unsent / unanswered      {counts.unsent:8d} / {counts.open}",
            f"  without a result           {self.lost_share:8.2%}",
            "                                  p50      p95      p99      max",
            latency_row("latency, from the due time", self.latency),
            latency_row("age of the newest result", self.age),
            latency_row("generator's lateness", self.lateness),
            *(latency_row(f"stage {stage}", times) for stage, times in self.stages.items()),
            _fairness_row(fair),
            f"  least tracked of a stream  {fair.least_tracked_share:8.2%}   ({starved} without a result)",
            f"  people per frame           {self.people:8.1f}",
        ]
        for stage, batches in (self.batches or {}).items():
            lines.append(f"  batches {stage:18} {batches.mean_items:8.2f} items, {batches.mean_ms:.1f} ms")
        if use.server_cores is not None and use.server_memory_mb is not None:
            lines.append(f"  server                     {use.server_cores:8.2f} cores, {use.server_memory_mb:.0f} MB")
        lines.append(f"  generators                 {use.generator_cores:8.2f} cores")
        if use.gpu is not None:
            lines.append(f"  GPU busy                   {use.gpu.busy_percent:8.0f} %, {use.gpu.memory_mb:.0f} MB")
        return lines + [f"NOT VALID: {each}" for each in self.shortcomings]


def _fairness_row(fair: Fairness) -> str:
    if fair.slowest_p95_ms is None or fair.ratio is None:
        return "  slowest stream's p95              -"
    return f"  slowest stream's p95       {fair.slowest_p95_ms:8.1f}   ({fair.ratio:.2f} of the median stream's)"


def latency_row(name: str, of: Spread | None) -> str:
    """A line of percentiles in milliseconds."""
    if of is None:
        return f"  {name:27}      -"
    return f"  {name:27} {of.p50:8.1f} {of.p95:8.1f} {of.p99:8.1f} {of.max:8.1f}"
