"""From the records of frames to figures. Nothing here knows of servers or clocks."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

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

# Moments at which the age of the newest result is looked at, in each interval of a stream's frames.
_LOOKS_AN_INTERVAL = 10

Values = npt.NDArray[np.float64]


class Round(Protocol):
    """One comparison of several."""

    @property
    def ratio(self) -> float | None:
        """What came of it."""
        ...

    @property
    def faults(self) -> tuple[str, ...]:
        """Why it does not count."""
        ...


def median_ratio(rounds: Iterable[Round]) -> float | None:
    """Of the rounds that count; None where none does."""
    told = [each.ratio for each in rounds if each.ratio is not None and not each.faults]
    return statistics.median(told) if told else None


def shortcomings_of(rounds: Sequence[Round]) -> tuple[str, ...]:
    """Why the rounds have no median; empty if they have one."""
    if median_ratio(rounds) is not None:
        return ()
    return ("; ".join(["no round counts", *rounds[-1].faults]),)


@dataclass(frozen=True)
class Spread:
    """Percentiles by rank: at least so many per cent of the values are at most this, and it is one of them."""

    p50: float
    p95: float
    p99: float
    max: float

    def at(self, percentile: int) -> float:
        """The percentile: 50, 95, 99 or 100."""
        return {50: self.p50, 95: self.p95, 99: self.p99, 100: self.max}[percentile]


@dataclass(frozen=True)
class FrameCounts:
    """What became of the frames: `sent = tracked + failed + dropped + open`, and `due = sent + unsent`.

    Attributes:
        due: of the schedule.
        sent: of these.
        unsent: the server had not read so far when the schedule ended.
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
        """Share of the frames that were due and not tracked."""
        return 1 - self.tracked / self.due if self.due else 0.0


@dataclass(frozen=True)
class Fairness:
    """How differently the streams fared.

    Attributes:
        median_p95_ms: 95th percentile of the latency of the median stream; None where no frame has a latency.
        slowest_p95_ms: that of the slowest one.
        ratio: of these.
        least_tracked_share: of the frames of the stream that lost most.
        starved: streams without a single result.
    """

    median_p95_ms: float | None
    slowest_p95_ms: float | None
    ratio: float | None
    least_tracked_share: float
    starved: int


def spread(values: Values) -> Spread | None:
    """Percentiles and the largest of any values; None where there are none."""
    if not len(values):
        return None
    ranks = np.percentile(values, (50, 95, 99), method="inverted_cdf")
    p50, p95, p99 = ranks.tolist()
    return Spread(p50, p95, p99, float(np.max(values)))


def count_frames(records: Records) -> FrameCounts:
    """What became of these frames."""
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


def latencies_ms(records: Records) -> Values:
    """From the moment at which each frame was due until its result was there.

    Frames without any answer count with the time that they had waited when they were given up, which is less than it
    would have become: left out, they would make a server look quick that answers nothing. Dropped and failed frames
    have no result, and those that became due on a stream that was broken by then nobody to wait for; how many there are
    is told beside this.
    """
    tracked, left = records["outcome"] == Outcome.TRACKED, records["outcome"] == Outcome.OPEN
    answered = records["answered_s"][tracked] - records["due_s"][tracked]
    waited = records["given_up_s"][left] - records["due_s"][left]
    return np.concatenate([answered, waited[waited >= 0]]) * 1e3


def lateness_ms(records: Records) -> Values:
    """By how much the generators noticed frames after they were due.

    A frame that was never noticed counts as late until it was given up; one that became due after that is left out.
    """
    never = np.isnan(records["noticed_s"])
    late: Values = np.where(never, records["given_up_s"], records["noticed_s"]) - records["due_s"]
    counted: Values = late[~never | (late >= 0)]
    return counted * 1e3


def ages_ms(records: Records, begin_s: float, end_s: float, fps: float) -> Values:
    """How old the newest result of each stream was, at evenly spaced moments: what a consumer knows is as old as that.

    Drops count here: the result before them only gets older. Where nothing had come yet, the age counts from the
    stream's first frame; before that there is none.

    Args:
        records: of all frames, those of the warm-up too.
        begin_s: of the moments.
        end_s: of the moments.
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
    """How differently the streams of these frames fared."""
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
    """Time that tracked frames spent in each of the server's stages; stages that never ran are left out."""
    times = records["stages_ms"][records["outcome"] == Outcome.TRACKED].astype(np.float64)
    found = {}
    for column, stage in enumerate(STAGES):
        ran = times[times[:, column] > 0, column]
        of_stage = spread(ran)
        if of_stage is not None:
            found[stage] = of_stage
    return found


def window_medians_ms(records: Records, begin_s: float, end_s: float, windows: int) -> list[float | None]:
    """Median latency of the results that came in each of so many equal stretches of time; None where none came."""
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
