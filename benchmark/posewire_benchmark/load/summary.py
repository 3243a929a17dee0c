"""Turns records into a result."""

from __future__ import annotations

from dataclasses import dataclass

from posewire.cli.quantities import quantity
from posewire_benchmark.load.accelerator import GpuUse
from posewire_benchmark.load.records import Outcome, Records
from posewire_benchmark.load.result import LoadResult, Setting, Utilisation
from posewire_benchmark.load.schedule import Schedule
from posewire_benchmark.load.server_metrics import Scrape, batches_between
from posewire_benchmark.load.statistics import (
    Spread,
    ages_ms,
    count_frames,
    fairness,
    latencies_ms,
    lateness_ms,
    of_stages,
    spread,
)

__all__ = ["Measured", "summarise"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Measured:
    """All data of one measurement. Times are those of `time.monotonic`.

    Attributes:
        setting: what was measured.
        schedule: of the frames.
        records: of all frames.
        begin_s: end of the warm-up.
        end_s: end of the measured time; frames continued for a little longer.
        max_lateness_ms: largest valid 99th percentile of the generators' lateness.
        generators: number of processes that sent.
        generator_cpu_s: processor time of all of them.
        broken: streams that ended early, and why.
        before: the server's metrics at `begin_s`; None: unknown.
        after: the server's metrics at `end_s`; None: unknown.
        gpu: its utilisation.
    """

    setting: Setting
    schedule: Schedule
    records: Records
    begin_s: float
    end_s: float
    max_lateness_ms: float
    generators: int
    generator_cpu_s: float
    broken: dict[str, str]
    before: Scrape | None = None
    after: Scrape | None = None
    gpu: GpuUse | None = None

    @property
    def counted(self) -> Records:
        """The frames that were due in the measured time."""
        due = self.records["due_s"]
        return self.records[(due >= self.begin_s) & (due < self.end_s)]


def summarise(measured: Measured) -> LoadResult:
    """The figures of one measurement."""
    records, counted, seconds = measured.records, measured.counted, measured.end_s - measured.begin_s
    counts = count_frames(counted)
    tracked = records["outcome"] == Outcome.TRACKED
    in_time = tracked & (records["answered_s"] >= measured.begin_s) & (records["answered_s"] < measured.end_s)
    people = counted["people"][counted["outcome"] == Outcome.TRACKED]
    lateness = spread(lateness_ms(counted))
    late = lateness is not None and lateness.p99 > measured.max_lateness_ms
    before, after = measured.before, measured.after
    return LoadResult(
        setting=measured.setting,
        streams=measured.schedule.streams,
        fps=measured.schedule.fps,
        seconds=seconds,
        generators=measured.generators,
        offered_fps=len(counted) / seconds,
        answered_fps=float(in_time.sum()) / seconds,
        frames=counts,
        lost_share=counts.lost_share,
        latency=spread(latencies_ms(counted)),
        age=spread(ages_ms(records, measured.begin_s, measured.end_s, measured.schedule.fps)),
        fairness=fairness(counted),
        stages=of_stages(counted),
        people=float(people.mean()) if len(people) else 0.0,
        batches=batches_between(before, after) if before is not None and after is not None else None,
        utilisation=_utilisation(measured, seconds),
        lateness=lateness,
        late=late,
        faults=_faults(measured, lateness if late else None),
    )


def _utilisation(measured: Measured, seconds: float) -> Utilisation:
    cores = memory_mb = None
    if measured.before is not None and measured.after is not None:
        began, ended = (told.get("process_cpu_seconds_total") for told in (measured.before, measured.after))
        cores = None if began is None or ended is None else (ended - began) / seconds
        resident = measured.after.get("process_resident_memory_bytes")
        memory_mb = None if resident is None else resident / 1e6
    return Utilisation(cores, measured.generator_cpu_s / seconds, memory_mb, measured.gpu)


def _faults(measured: Measured, too_late: Spread | None) -> tuple[str, ...]:
    faults = []
    if too_late is not None:
        faults.append(
            f"the generator was late: 99 % of the frames within {too_late.p99:.1f} ms, at most "
            f"{measured.max_lateness_ms:g} ms is allowed; use more processes (--generators) or another machine"
        )
    if measured.broken:
        stream, why = next(iter(measured.broken.items()))
        faults.append(f"{quantity(len(measured.broken), 'stream')} ended early; stream {stream}: {why}")
    return tuple(faults)
