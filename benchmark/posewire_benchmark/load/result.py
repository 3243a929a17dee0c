"""The figures of one load, and how they are shown."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any

from posewire.cli.quantities import quantity
from posewire_benchmark.load.accelerator import GpuUse
from posewire_benchmark.load.server_metrics import Batches
from posewire_benchmark.load.statistics import Fairness, FrameCounts, Spread
from posewire_benchmark.machine import Machine

__all__ = ["LoadResult", "Setting", "Utilisation", "latency_row"]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What carried the load, and what the load was made of: the same for all measurements of one server.

    Attributes:
        machine: of the generators; of the server too where it is a private one.
        server: version and device of the server.
        models: its networks, in words.
        frames: the clips, in words.
        boxes: where the people are.
        drop_policy: of the streams.
    """

    machine: Machine
    server: str
    models: str
    frames: str
    boxes: str
    drop_policy: str

    def as_lines(self) -> list[str]:
        """For people."""
        return [
            self.machine.as_line(),
            f"server {self.server}; {self.models}",
            f"{self.frames}; boxes: {self.boxes}; drop policy {self.drop_policy}",
        ]


@dataclass(frozen=True)
class Utilisation:
    """How busy everybody was.

    Attributes:
        server_cores: processor cores that the server kept busy; None: it does not tell.
        generator_cores: that all generators kept busy.
        server_memory_mb: resident, at the end.
        gpu: that of the server; None: it has none, or which one is not known.
    """

    server_cores: float | None
    generator_cores: float
    server_memory_mb: float | None
    gpu: GpuUse | None


@dataclass(frozen=True, kw_only=True)
class LoadResult:
    """What came of one load. The warm-up is in none of the figures.

    Attributes:
        setting: what was measured.
        streams: of the load.
        fps: of each stream.
        seconds: measured.
        generators: processes that sent.
        offered_fps: frames that were due a second, all streams together.
        answered_fps: results that came a second.
        frames: what became of them.
        lost_share: share of the frames that were due and have no result.
        latency: milliseconds from the moment at which a frame was due to its result; what was never answered counts
            with the time that it had waited.
        age: milliseconds since the newest result's frame was due, at any moment: what a consumer knows is so old.
        fairness: between streams.
        stages: milliseconds in each of the server's stages.
        people: mean of a tracked frame.
        batches: of each stage; None where the server exports no metrics.
        utilisation: processor, memory, GPU.
        lateness: milliseconds by which the generators noticed frames after they were due.
        late: whether that was too much: the load was not what it says.
        faults: why the figures do not count: late generators, streams that broke.
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
    faults: tuple[str, ...] = field(default=())

    @property
    def valid(self) -> bool:
        """Whether the figures count, and are of something."""
        return not self.shortcomings

    @property
    def shortcomings(self) -> tuple[str, ...]:
        """Why this is no success: the faults, or that nothing was tracked. Beside another load that is a figure."""
        return self.faults if self.frames.tracked else (*self.faults, "not one frame was tracked")

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self) | {"valid": self.valid, "shortcomings": list(self.shortcomings)}

    def as_text(self) -> str:
        """Lines for people."""
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
            f"  people a frame             {self.people:8.1f}",
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
    """A line of percentiles, milliseconds."""
    if of is None:
        return f"  {name:27}      -"
    return f"  {name:27} {of.p50:8.1f} {of.p95:8.1f} {of.p99:8.1f} {of.max:8.1f}"
