"""Computes figures from the records of frames, independent of servers and clocks."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from posewire.array_types import Float64s
from posewire_benchmark.load.records import (
    DROP_REASONS,
    FAILURE_REASONS,
    STAGES,
    Outcome,
    Records,
)

__all__ = [
    "Fairness",
    "FrameCounts",
    "Round",
    "Spread",
    "ages_ms",
    "count_frames",
    "fairness",
    "latencies_ms",
    "lateness_ms",
    "median_ratio",
    "of_stages",
    "shortcomings_of",
    "spread",
    "window_medians_ms",
]

# Samples of the age of the newest result per frame interval of a stream.
_LOOKS_AN_INTERVAL = 10


class Round(Protocol):
    """One comparison of several."""

    @property
    def ratio(self) -> float | None:
        """Its result."""
        ...

    @property
    def faults(self) -> tuple[str, ...]:
        """Why it is not valid; empty if it is."""
        ...


def median_ratio(rounds: Iterable[Round]) -> float | None:
    """Median ratio of the valid rounds; None if there are none."""
    told = [each.ratio for each in rounds if each.ratio is not None and not each.faults]
    return statistics.median(told) if told else None


def shortcomings_of(rounds: Sequence[Round]) -> tuple[str, ...]:
    """Why the rounds have no median; empty if they have one."""
    if median_ratio(rounds) is not None:
        return ()
    return ("; ".join(["no valid round", *rounds[-1].faults]),)


@dataclass(frozen=True)
class Spread:
    """Nearest-rank percentiles: the smallest value that at least p per cent of the values do not exceed."""

    p50: float
    p95: float
    p99: float
    max: float

    def at(self, percentile: int) -> float:
        """The percentile: 50, 95, 99 or 100."""
        return {50: self.p50, 95: self.p95, 99: self.p99, 100: self.max}[percentile]


@dataclass(frozen=True)
class FrameCounts:
    """Outcomes of the frames: `sent = tracked + failed + dropped + open`, and `due = sent + unsent`.

    Attributes:
        due: according to the schedule.
        sent: of these, frames that were sent.
        unsent: not sent when the schedule ended, since the server had not read that far.
        tracked: answered with people.
        failed: answered with a failure.
        dropped: answered with a drop.
        open: never answered.
        drops: by reason.
        failures: by reason.
    """

    due: int
    sent: int
    unsent: int
    tracked: int
    failed: int
    dropped: int
    open: int
    drops: dict[str, int]
    failures: dict[str, int]

    @property
    def lost_share(self) -> float:
        """Share of the due frames that were not tracked."""
        return 1 - self.tracked / self.due if self.due else 0.0


@dataclass(frozen=True)
class Fairness:
    """Differences between streams.

    Attributes:
        median_p95_ms: 95th percentile of the latency of the median stream; None if no frame has a latency.
        slowest_p95_ms: that of the slowest stream.
        ratio: slowest / median.
        least_tracked_share: share of tracked frames in the stream that lost most.
        starved: number of streams without a single result.
    """

    median_p95_ms: float | None
    slowest_p95_ms: float | None
    ratio: float | None
    least_tracked_share: float
    starved: int


def spread(values: Float64s) -> Spread | None:
    """Percentiles and maximum of any values; None if there are none."""
    if not len(values):
        return None
    ranks = np.percentile(values, (50, 95, 99), method="inverted_cdf")
    p50, p95, p99 = ranks.tolist()
    return Spread(p50, p95, p99, float(np.max(values)))


def count_frames(records: Records) -> FrameCounts:
    """Outcomes of these frames."""
    outcome, sent = records["outcome"], ~np.isnan(records["sent_s"]) | (records["outcome"] != Outcome.OPEN)
    return FrameCounts(
        due=len(records),
        sent=int(sent.sum()),
        unsent=int((~sent).sum()),
        tracked=int((outcome == Outcome.TRACKED).sum()),
        failed=int((outcome == Outcome.FAILED).sum()),
        dropped=int((outcome == Outcome.DROPPED).sum()),
        open=int((sent & (outcome == Outcome.OPEN)).sum()),
        drops=_by_reason(records[outcome == Outcome.DROPPED], DROP_REASONS),
        failures=_by_reason(records[outcome == Outcome.FAILED], FAILURE_REASONS),
    )


def latencies_ms(records: Records) -> Float64s:
    """Milliseconds from when each frame was due until its result arrived.

    Frames without any answer count with the time that they had waited when they were given up, a lower bound: without
    them, a server that answers nothing would look fast. Dropped and failed frames have no result, and frames that
    became due after their stream broke were not waited for; their numbers are reported separately.
    """
    tracked, left = records["outcome"] == Outcome.TRACKED, records["outcome"] == Outcome.OPEN
    answered = records["answered_s"][tracked] - records["due_s"][tracked]
    waited = records["given_up_s"][left] - records["due_s"][left]
    return np.concatenate([answered, waited[waited >= 0]]) * 1e3


def lateness_ms(records: Records) -> Float64s:
    """Milliseconds from when frames were due until the generators noticed them.

    A frame that was never noticed counts as late until it was given up; frames that became due after that are left out.
    """
    never = np.isnan(records["noticed_s"])
    late: Float64s = np.where(never, records["given_up_s"], records["noticed_s"]) - records["due_s"]
    counted: Float64s = late[~never | (late >= 0)]
    return counted * 1e3


def ages_ms(records: Records, begin_s: float, end_s: float, fps: float) -> Float64s:
    """Age of the newest result of each stream in milliseconds, sampled evenly: the age of what a consumer knows.

    Drops count here, since the previous result gets older. Before the first result, the age counts from the stream's
    first frame; before that frame there is no age.

    Args:
        records: of all frames, including the warm-up.
        begin_s: of the samples.
        end_s: of the samples.
        fps: of a stream.
    """
    moments = np.arange(begin_s, end_s, 1 / (fps * _LOOKS_AN_INTERVAL))
    ages = []
    for stream in np.unique(records["stream"]):
        of_stream = records[records["stream"] == stream]
        looked = moments[moments >= of_stream["due_s"][0]]
        results = of_stream[of_stream["outcome"] == Outcome.TRACKED]
        results = results[np.argsort(results["answered_s"], kind="stable")]
        newest = np.maximum.accumulate(np.concatenate([of_stream["due_s"][:1], results["due_s"]]))
        ages.append(looked - newest[np.searchsorted(results["answered_s"], looked, side="right")])
    return np.concatenate(ages) * 1e3 if ages else np.zeros(0)


def fairness(records: Records) -> Fairness:
    """Differences between the streams of these frames."""
    slow, shares = [], []
    for stream in np.unique(records["stream"]):
        of_stream = records[records["stream"] == stream]
        of_latency = spread(latencies_ms(of_stream))
        if of_latency is not None:
            slow.append(of_latency.p95)
        shares.append(float((of_stream["outcome"] == Outcome.TRACKED).mean()))
    median, slowest = (float(np.median(slow)), max(slow)) if slow else (None, None)
    return Fairness(
        median_p95_ms=median,
        slowest_p95_ms=slowest,
        ratio=slowest / median if slowest and median else None,
        least_tracked_share=min(shares, default=0.0),
        starved=sum(share == 0 for share in shares),
    )


def of_stages(records: Records) -> dict[str, Spread]:
    """Milliseconds that tracked frames spent in each of the server's stages; stages that never ran are left out."""
    times = records["stages_ms"][records["outcome"] == Outcome.TRACKED].astype(np.float64)
    found = {}
    for column, stage in enumerate(STAGES):
        ran = times[times[:, column] > 0, column]
        of_stage = spread(ran)
        if of_stage is not None:
            found[stage] = of_stage
    return found


def window_medians_ms(records: Records, begin_s: float, end_s: float, windows: int) -> list[float | None]:
    """Median latency of the results that arrived in each of `windows` equal parts of the time; None if none arrived."""
    tracked = records[records["outcome"] == Outcome.TRACKED]
    place = np.floor((tracked["answered_s"] - begin_s) / (end_s - begin_s) * windows).astype(int)
    latency = (tracked["answered_s"] - tracked["due_s"]) * 1e3
    return [
        float(np.median(latency[place == window])) if (place == window).any() else None for window in range(windows)
    ]


def _by_reason(records: Records, names: dict[int, str]) -> dict[str, int]:
    numbers, counts = np.unique(records["reason"], return_counts=True)
    return {
        names.get(number, str(number)): count for number, count in zip(numbers.tolist(), counts.tolist(), strict=True)
    }
