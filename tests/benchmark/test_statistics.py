from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posewire.v1 import track_pb2
from posewire_benchmark.load.records import FRAME, STAGES, Outcome, Records
from posewire_benchmark.load.statistics import (
    ages_ms,
    count_frames,
    fairness,
    latencies_ms,
    lateness_ms,
    of_stages,
    spread,
    window_medians_ms,
)

NAN = float("nan")


def records(*rows: tuple[int, float, float, Outcome], given_up_s: float = NAN) -> Records:
    """Of (stream, due, answered, outcome), noticed and sent a little after they were due."""
    made = np.zeros(len(rows), FRAME)
    for row, (stream, due_s, answered_s, outcome) in zip(made, rows, strict=True):
        row["stream"], row["due_s"], row["answered_s"], row["outcome"] = stream, due_s, answered_s, outcome
        row["noticed_s"], row["sent_s"], row["given_up_s"] = due_s + 0.01, due_s + 0.05, given_up_s
    return made


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=300))
@example([float(value) for value in range(300)])
def test_percentiles_are_values_with_so_many_at_or_below_them(values: list[float]) -> None:
    found = spread(np.array(values))
    assert found is not None
    assert found.max == max(values)
    assert found.p50 <= found.p95 <= found.p99 <= found.max
    for rank in (50, 95, 99):
        value = found.at(rank)
        assert value in values
        assert sum(other <= value for other in values) >= rank / 100 * len(values) - 1e-9
        assert sum(other < value for other in values) < rank / 100 * len(values)


def test_there_are_no_percentiles_of_nothing() -> None:
    assert spread(np.zeros(0)) is None


@given(st.lists(st.tuples(st.sampled_from(Outcome), st.booleans()), max_size=50))
def test_every_frame_is_counted_once(fates: Sequence[tuple[Outcome, bool]]) -> None:
    made = records(*((0, float(at), NAN, outcome) for at, (outcome, _) in enumerate(fates)))
    made["reason"] = 1
    for row, (outcome, sent) in zip(made, fates, strict=True):
        if outcome is Outcome.OPEN and not sent:
            row["sent_s"] = NAN
    counts = count_frames(made)
    assert counts.due == len(fates) == counts.sent + counts.unsent
    assert counts.sent == counts.tracked + counts.failed + counts.dropped + counts.open
    assert sum(counts.drops.values()) == counts.dropped
    assert sum(counts.failures.values()) == counts.failed
    assert counts.lost_share == pytest.approx(1 - counts.tracked / counts.due if fates else 0)


def test_reasons_have_their_names() -> None:
    made = records((0, 0, 1, Outcome.DROPPED), (0, 1, 2, Outcome.DROPPED), (0, 2, 3, Outcome.FAILED))
    made["reason"] = (
        track_pb2.DROP_REASON_SUPERSEDED,
        track_pb2.DROP_REASON_TOO_OLD,
        track_pb2.FAILURE_REASON_UNDECODABLE,
    )
    counts = count_frames(made)
    assert counts.drops == {"superseded": 1, "too-old": 1}
    assert counts.failures == {"undecodable": 1}


def test_what_was_never_answered_has_waited_until_it_was_given_up() -> None:
    made = records(
        (0, 1.0, 1.5, Outcome.TRACKED),
        (0, 2.0, NAN, Outcome.OPEN),
        (0, 3.0, 3.1, Outcome.DROPPED),  # has no result, so no latency
        (0, 4.0, 4.1, Outcome.FAILED),
        (0, 11.0, NAN, Outcome.OPEN),  # due when the stream was broken already: nobody waited for it
        given_up_s=10.0,
    )
    assert sorted(latencies_ms(made)) == pytest.approx([500, 8000])


def test_frames_of_a_broken_stream_are_not_held_against_the_generator() -> None:
    made = records(*((0, float(at), NAN, Outcome.OPEN) for at in range(4)), given_up_s=1.5)
    made["noticed_s"][1:] = NAN
    # the second one was due and not noticed when the stream broke; the others were not due
    assert sorted(lateness_ms(made)) == pytest.approx([10, 500])


def test_the_age_grows_until_the_next_result_comes() -> None:
    made = records((0, 0.0, 0.5, Outcome.TRACKED), (0, 1.0, 1.1, Outcome.DROPPED), (0, 2.0, 2.5, Outcome.TRACKED))
    ages = ages_ms(made, 0.0, 4.0, fps=1.0)
    assert len(ages) == 40
    # From 0 (nothing came yet: counted from the first frame) to 2.5 s, then of the frame of 2 s.
    assert ages[0] == 0
    assert ages[24] == pytest.approx(2400)
    assert ages[25] == pytest.approx(500)
    assert ages[39] == pytest.approx(1900)


def test_there_is_no_age_before_the_first_frame_of_a_stream() -> None:
    made = records((0, 0.0, 0.5, Outcome.TRACKED), (1, 2.0, 2.5, Outcome.TRACKED))
    ages = ages_ms(made, 0.0, 4.0, fps=1.0)
    assert len(ages) == 40 + 20
    assert ages.min() == 0


def test_a_result_that_comes_late_does_not_replace_a_newer_one() -> None:
    made = records((0, 0.0, 3.0, Outcome.TRACKED), (0, 1.0, 2.0, Outcome.TRACKED))
    assert ages_ms(made, 3.5, 3.55, fps=1.0) == pytest.approx([2500])


def test_the_slowest_stream_is_held_against_the_median_one() -> None:
    quick = [(stream, float(at), at + 0.1, Outcome.TRACKED) for stream in (0, 1) for at in range(20)]
    slow = [(2, float(at), at + 0.4, Outcome.TRACKED) for at in range(20)]
    starved = [(3, float(at), at + 0.1, Outcome.DROPPED) for at in range(20)]
    found = fairness(records(*quick, *slow))
    assert (found.median_p95_ms, found.slowest_p95_ms) == pytest.approx((100, 400))
    assert found.ratio == pytest.approx(4)
    assert (found.least_tracked_share, found.starved) == (1.0, 0)
    found = fairness(records(*quick, *slow, *starved))
    assert (found.least_tracked_share, found.starved) == (0.0, 1)
    found = fairness(records(*starved))
    assert (found.slowest_p95_ms, found.ratio) == (None, None)


def test_stages_that_never_ran_are_left_out() -> None:
    made = records((0, 0, 1, Outcome.TRACKED), (0, 1, 2, Outcome.TRACKED), (0, 2, 3, Outcome.DROPPED))
    made["stages_ms"][:, STAGES.index("pose")] = (4.0, 8.0, 99.0)
    made["stages_ms"][0, STAGES.index("detect")] = 2.0
    stages = of_stages(made)
    assert stages.keys() == {"pose", "detect"}
    assert (stages["pose"].p50, stages["pose"].max) == (4.0, 8.0)
    assert stages["detect"].p50 == 2.0  # of the frames on which it ran


def test_windows_are_those_in_which_results_came() -> None:
    made = records((0, 0.0, 0.5, Outcome.TRACKED), (0, 0.2, 0.9, Outcome.TRACKED), (0, 1.0, 2.5, Outcome.TRACKED))
    assert window_medians_ms(made, 0.0, 3.0, 3) == [pytest.approx(600), None, pytest.approx(1500)]
