from __future__ import annotations

import itertools

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from posewire_benchmark.load.schedule import Schedule

SCHEDULES = st.builds(
    Schedule,
    streams=st.integers(1, 20),
    fps=st.floats(0.5, 120),
    seconds=st.floats(0.1, 3),
)


@given(SCHEDULES)
@example(Schedule(streams=4, fps=12.5, seconds=1.1))  # stream 3: rounding would put one frame at the very end
def test_a_stream_is_due_once_an_interval_and_never_beyond_the_end(schedule: Schedule) -> None:
    for stream in range(schedule.streams):
        due = [schedule.due_s(stream, number) for number in range(schedule.frames(stream))]
        assert all(0 <= at < schedule.seconds for at in due)
        assert schedule.due_s(stream, len(due)) >= schedule.seconds
        for before, after in itertools.pairwise(due):
            assert after - before == pytest.approx(1 / schedule.fps)


@given(SCHEDULES)
def test_all_streams_together_are_one_even_flow(schedule: Schedule) -> None:
    due = sorted(
        schedule.due_s(stream, number)
        for stream in range(schedule.streams)
        for number in range(schedule.frames(stream))
    )
    for before, after in itertools.pairwise(due):
        assert after - before == pytest.approx(1 / (schedule.fps * schedule.streams), rel=1e-6)
    assert len(due) == pytest.approx(schedule.seconds * schedule.fps * schedule.streams, abs=1)


@given(SCHEDULES, st.integers(1, 30))
def test_processes_share_the_streams_without_rest(schedule: Schedule, processes: int) -> None:
    shares = [list(schedule.share(part, processes)) for part in range(processes)]
    assert sorted(itertools.chain(*shares)) == list(range(schedule.streams))
    assert max(map(len, shares)) - min(map(len, shares)) <= 1
