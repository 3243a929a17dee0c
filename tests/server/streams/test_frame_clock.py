from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_server.streams.frame_clock import FrameClock


def _fed(times: list[float], *, may_drop: bool = True) -> FrameClock:
    clock = FrameClock(may_drop=may_drop)
    for time in times:
        clock.received(time, arrived_s=0.0)
    return clock


def test_every_received_frame_counts_for_the_interval_though_few_are_tracked() -> None:
    clock = _fed([0.04 * frame for frame in range(10)])
    assert clock.interval_s == pytest.approx(0.04)
    assert clock.elapsed(0.0, 0.12) == 3.0


@pytest.mark.parametrize(
    "times",
    [
        [frame / 30 for frame in range(40)],
        [round(frame / 30, 3) for frame in range(40)],  # whole milliseconds
        [frame / 30 + 0.003 * (-1) ** frame for frame in range(40)],  # jitter
    ],
)
def test_a_regular_stream_passes_one_interval_a_frame(times: list[float]) -> None:
    clock = FrameClock(may_drop=True)
    moments = [clock.received(time, 0.0) for time in times]
    pairs = itertools.pairwise(moments[5:])
    assert {clock.elapsed(then, now) for then, now in pairs} == {1.0}


def test_neither_a_gap_nor_a_burst_moves_the_interval() -> None:
    times = [0.04 * frame for frame in range(10)]
    times += [times[-1] + 60.0 + 0.001 * frame for frame in range(3)]
    times += [times[-1] + 0.04 * (frame + 1) for frame in range(10)]
    assert _fed(times).interval_s == pytest.approx(0.04)


@pytest.mark.parametrize(("may_drop", "elapsed"), [(True, 1.0), (False, 42_500.0)])
def test_a_live_camera_whose_clock_is_set_goes_on_by_arrival(may_drop: bool, elapsed: float) -> None:
    clock = FrameClock(may_drop=may_drop)
    times = [(0.04 * frame + (1700.0 if frame >= 5 else 0.0), 7000.0 + 0.04 * frame) for frame in range(10)]
    moments = [clock.received(*each) for each in times]
    assert clock.elapsed(moments[4], moments[5]) == pytest.approx(elapsed, rel=0.01)
    assert clock.elapsed(moments[6], moments[7]) == 1.0
    assert clock.by_capture is not may_drop


def test_a_pause_of_a_live_camera_is_a_gap() -> None:
    clock = FrameClock(may_drop=True)
    times = [0.04 * frame for frame in range(10)] + [3600.0]
    moments = [clock.received(time, time + 5.0) for time in times]
    assert clock.elapsed(moments[9], moments[10]) == pytest.approx(90_000, rel=0.01)


def test_a_camera_that_changes_its_rate_is_followed() -> None:
    times = [0.04 * frame for frame in range(100)]
    times += [times[-1] + 0.1 * (frame + 1) for frame in range(30)]
    assert _fed(times).interval_s == pytest.approx(0.1)


def test_uneven_times_count_as_they_are() -> None:
    clock = _fed([0.0, 1.0, 2.0, 3.0])
    assert clock.elapsed(3.0, 4.4) == pytest.approx(1.4)
    assert clock.elapsed(3.0, 3.01) == 0.5  # nearly at once: no velocity can be made of that


def test_before_anything_is_known_a_frame_is_an_interval() -> None:
    clock = FrameClock(may_drop=True)
    first = clock.received(7.0, 0.0)
    assert clock.elapsed(None, first) == 1.0
    assert clock.elapsed(first, first) == 1.0


@pytest.mark.parametrize("captures", [[None, None, None], [5.0, 6.0, 6.0], [5.0, 6.0, 2.0], [0.0, 0.0, 0.0]])
def test_without_times_of_capture_those_of_arrival_count(captures: list[float | None]) -> None:
    clock = FrameClock(may_drop=True)
    for number, capture in enumerate(captures):
        clock.received(capture, 100.0 + number)
    moments = [clock.received(9.0, 103.0 + number) for number in range(3)]  # it is not believed again
    assert moments == [103.0, 104.0, 105.0]
    assert clock.elapsed(103.0, 105.0) == 2.0
    assert not clock.by_capture


def test_between_two_clocks_nothing_is_known() -> None:
    clock = FrameClock(may_drop=True)
    for number in range(10):
        then = clock.received(500 + 0.02 * number, 60_000 + 0.04 * number)  # the camera's clock is slow
    first = clock.received(0.0, 60_000.4)  # the camera counts anew
    assert clock.elapsed(then, first) == 1.0
    second = clock.received(0.04, 60_000.44)
    assert clock.elapsed(then, second) == 1.0
    assert clock.elapsed(first, second) == 1.0
    assert clock.elapsed(first, clock.received(0.08, 60_000.52)) == pytest.approx(2.0, abs=1.0)


def test_where_nothing_is_dropped_arrival_says_nothing() -> None:
    clock = FrameClock(may_drop=False)
    times = [clock.received(None, arrived) for arrived in (60.0, 60.001, 67.0)]
    assert [clock.elapsed(*pair) for pair in itertools.pairwise(times)] == [1.0, 1.0]
    assert clock.elapsed(times[0], times[2]) == 2.0  # the one between has failed
    assert clock.elapsed(None, times[0]) == 1.0


def test_once_frames_are_counted_capture_times_say_nothing() -> None:
    clock = FrameClock(may_drop=False)
    captured = [clock.received(1.7e9 + 4 * frame, 0.0) for frame in range(3)]
    counted = [clock.received(None, 0.0) for _ in range(3)]
    assert [clock.elapsed(*pair) for pair in itertools.pairwise(captured + counted)] == [1.0] * 5


def test_a_resumed_stream_knows_the_interval_at_its_first_frame() -> None:
    clock = FrameClock(may_drop=True)
    now_s = clock.received(10.2, 0.0)
    assert clock.elapsed(10.0, now_s) == 1.0  # the earlier stream had a single frame
    clock.resume(0.04)
    assert clock.elapsed(10.0, now_s) == 5.0


@given(st.lists(st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False)), max_size=60), st.booleans())
def test_whatever_comes_time_passes(captures: list[float | None], may_drop: bool) -> None:
    clock, then = FrameClock(may_drop=may_drop), None
    for number, capture in enumerate(captures):
        now = clock.received(capture, float(number))
        assert clock.elapsed(then, now) >= 0.5
        then = now


@pytest.mark.parametrize("by_capture", [True, False])
def test_the_next_frame_is_due_one_interval_after_the_last_arrival(by_capture: bool) -> None:
    clock = FrameClock(may_drop=True)
    assert clock.due_s(0.0) is None
    for frame in range(10):
        clock.received(7000.0 + 0.2 * frame if by_capture else None, 100.0 + 0.2 * frame)
    assert clock.due_s(101.81) == pytest.approx(102.0)
    assert clock.due_s(102.1) == pytest.approx(102.2)  # one was left out


@pytest.mark.parametrize(
    ("now_s", "due_s"),
    [
        (103.9, 104.0),
        (104.2, 104.0),  # late
        (104.3, 105.0),  # left out, or lost
        (106.2, 106.0),  # so are two more
        (107.2, 107.0),
        (107.3, None),  # it has stopped
        (1000.0, None),
    ],
)
def test_a_frame_is_late_then_left_out_then_the_camera_has_stopped(now_s: float, due_s: float | None) -> None:
    clock = FrameClock(may_drop=True)
    for second in range(4):
        clock.received(float(second), 100.0 + second)
    assert clock.due_s(now_s) == (None if due_s is None else pytest.approx(due_s))


def test_where_time_does_not_count_no_frame_is_due() -> None:
    clock = FrameClock(may_drop=False)
    for second in range(4):
        clock.received(None, 100.0 + second)
    assert clock.due_s(103.5) is None
