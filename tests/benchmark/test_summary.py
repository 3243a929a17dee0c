from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from posewire_benchmark.load.records import FRAME, Outcome
from posewire_benchmark.load.schedule import Schedule
from posewire_benchmark.load.server_metrics import Scrape
from posewire_benchmark.load.summary import Measured, summarise
from tests.benchmark.simulated import SETTING

# due, answered, outcome, people
FRAMES = [
    (0.5, 1.25, Outcome.TRACKED, 8),  # of the warm-up, but its result came afterwards
    (1.0, 1.5, Outcome.TRACKED, 2),
    (2.0, 2.25, Outcome.DROPPED, 8),
    (2.5, 3.0, Outcome.TRACKED, 4),  # its result came when the time was over
    (3.0, 3.25, Outcome.TRACKED, 8),  # due when it was over
]


def measured(*, max_lateness_ms: float = 250.0) -> Measured:
    """One stream, measured from 1 to 3 s; each frame was noticed 250 ms after it was due."""
    records = np.zeros(len(FRAMES), FRAME)
    for row, (due_s, answered_s, outcome, people) in zip(records, FRAMES, strict=True):
        row["due_s"], row["answered_s"], row["outcome"], row["people"] = due_s, answered_s, outcome, people
        row["noticed_s"] = row["sent_s"] = due_s + 0.25
    return Measured(
        setting=SETTING,
        schedule=Schedule(streams=1, fps=2.0, seconds=4.0),
        records=records,
        begin_s=1.0,
        end_s=3.0,
        max_lateness_ms=max_lateness_ms,
        generators=1,
        generator_cpu_s=1.0,
        broken={},
    )


def test_frames_count_when_they_are_due_and_results_when_they_come() -> None:
    result = summarise(measured())
    assert (result.seconds, result.offered_fps, result.answered_fps) == (2.0, 1.5, 1.0)
    assert (result.frames.due, result.frames.tracked, result.frames.dropped) == (3, 2, 1)
    assert result.people == 3.0
    assert result.latency is not None
    assert (result.latency.p50, result.latency.max) == (500.0, 500.0)


@pytest.mark.parametrize(("allowed_ms", "late"), [(250.0, False), (249.0, True)])
def test_a_generator_may_be_as_late_as_is_allowed(allowed_ms: float, late: bool) -> None:
    result = summarise(measured(max_lateness_ms=allowed_ms))
    assert result.late is late
    assert result.valid is not late
    assert all("99 % of the frames within 250.0 ms, at most 249 ms is allowed" in fault for fault in result.faults)


def test_how_busy_everybody_was() -> None:
    before = Scrape({"process_cpu_seconds_total": 10.0, "process_resident_memory_bytes": 100e6})
    after = Scrape({"process_cpu_seconds_total": 13.0, "process_resident_memory_bytes": 250e6})
    use = summarise(dataclasses.replace(measured(), before=before, after=after)).utilisation
    assert (use.server_cores, use.server_memory_mb, use.generator_cores) == (1.5, 250.0, 0.5)


@pytest.mark.parametrize("after", [None, Scrape({})])
def test_what_the_server_does_not_tell_is_not_known(after: Scrape | None) -> None:
    before = Scrape({"process_cpu_seconds_total": 10.0, "process_resident_memory_bytes": 100e6})
    use = summarise(dataclasses.replace(measured(), before=before, after=after)).utilisation
    assert (use.server_cores, use.server_memory_mb, use.generator_cores) == (None, None, 0.5)
