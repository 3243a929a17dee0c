from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass, field
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire import StreamSettings
from posewire._streaming.send_window import PacketWindow, PictureWindow, SendWindow, window_for

MOST = 32


@dataclass
class Line:
    """A camera, a line and a server, in simulated time.

    Attributes:
        frame_s: how long the line takes to carry one frame; they queue up before it.
        there_and_back_s: how long it takes besides, however many frames it carries.
        at_server_s: how long a frame is at the server, where only the newest waits.
        jitter_s: up to which the way back varies.
        interval_s: between the camera's frames.
        ages_s: of the results when they arrived, with the time of their arrival.
    """

    frame_s: float = 0.002
    there_and_back_s: float = 0.001
    at_server_s: float = 0.02
    jitter_s: float = 0.0
    interval_s: float = 0.04
    now_s: float = 0.0
    ages_s: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.window = PictureWindow(MOST, clock=lambda: self.now_s)
        self._chance = random.Random(1)
        self._free_s = self._server_free_s = self._back_s = 0.0
        self._in_flight: dict[int, float] = {}
        self._answers: list[tuple[float, int, float | None]] = []
        self._number = 0

    def run(self, seconds: float) -> None:
        """Send a frame when it is due, or as soon as there is room, the newest one then."""
        until_s, due_s = self.now_s + seconds, self.now_s
        fresh: float | None = None
        while self.now_s < until_s:
            if self.now_s >= due_s:
                fresh, due_s = due_s, due_s + self.interval_s
            self._answer()
            if fresh is not None and len(self._in_flight) < self.window.limit:
                self._send(fresh)
                fresh = None
            self.now_s = min([due_s, *(at_s for at_s, *_ in self._answers)])

    def _send(self, captured_s: float) -> None:
        self._number += 1
        self._in_flight[self._number] = captured_s
        self.window.record_sent(self._number)
        self._free_s = max(self._free_s, self.now_s) + self.frame_s
        arrives_s = self._free_s + self.there_and_back_s
        begins_s = max(arrives_s, self._server_free_s)
        if begins_s > arrives_s + self.at_server_s:  # a newer frame has taken its place
            self._answers.append((begins_s, self._number, None))
            return
        self._server_free_s = begins_s + self.at_server_s
        # On one connection, no answer overtakes another.
        self._back_s = max(self._back_s, self._server_free_s + self._chance.uniform(0, self.jitter_s))
        self._answers.append((self._back_s, self._number, self._server_free_s - arrives_s))

    def _answer(self) -> None:
        for answer in sorted(each for each in self._answers if each[0] <= self.now_s):
            self._answers.remove(answer)
            _, number, at_server_s = answer
            captured_s = self._in_flight.pop(number)
            self.window.record_answered(number, at_server_s)
            if at_server_s is not None:
                self.ages_s.append((self.now_s, self.now_s - captured_s))

    def ages_since(self, since_s: float) -> list[float]:
        return [age_s for at_s, age_s in self.ages_s if at_s >= since_s]


@pytest.mark.parametrize(("frame_s", "there_and_back_s"), [(0.05, 0.03), (0.13, 0.03), (0.7, 0.03), (0.05, 0.6)])
def test_a_line_slower_than_the_camera_is_full_and_forms_no_queue(frame_s: float, there_and_back_s: float) -> None:
    line = Line(frame_s=frame_s, there_and_back_s=there_and_back_s)
    line.run(200)
    ages_s = line.ages_since(10)
    alone_s = frame_s + line.there_and_back_s + line.at_server_s
    assert len(ages_s) * frame_s > (190 - 3 * alone_s) * 0.98  # the delay alone is measured three times
    assert max(ages_s) < alone_s + max(2 * frame_s, 0.18)


@pytest.mark.parametrize(
    ("line", "rate"),
    [
        pytest.param(Line(), 25, id="near"),
        pytest.param(Line(jitter_s=0.1), 24, id="wireless"),
        pytest.param(Line(at_server_s=0.008, jitter_s=0.1, interval_s=0.01), 95, id="wireless, fast camera"),
        pytest.param(Line(jitter_s=0.3), 23, id="mobile"),
        pytest.param(Line(there_and_back_s=0.6), 24, id="satellite"),
        pytest.param(Line(at_server_s=0.1), 10, id="busy server"),
    ],
)
def test_a_line_that_is_fast_enough_carries_every_frame(line: Line, rate: float) -> None:
    line.run(200)
    assert len(line.ages_since(10)) >= 190 * rate - 1


@pytest.mark.parametrize(("jitter_s", "full"), [(0.3, 0.94), (2.0, 0.2)])
def test_a_disturbed_line_that_is_slow_forms_a_queue_of_half_a_second_at_most(jitter_s: float, full: float) -> None:
    line = Line(frame_s=0.13, jitter_s=jitter_s)
    line.run(200)
    ages_s = line.ages_since(10)
    assert len(ages_s) * line.frame_s > 190 * full
    assert max(ages_s) < line.frame_s + line.there_and_back_s + line.at_server_s + line.jitter_s + 0.5


def test_the_window_follows_its_line() -> None:
    line = Line()
    line.run(20)
    line.frame_s = 0.2  # as beside a download
    line.run(60)
    assert max(line.ages_since(line.now_s - 30)) < 0.7
    line.frame_s = 0.002
    line.run(10)
    assert len(line.ages_since(line.now_s - 5)) > 5 * 24
    line.there_and_back_s = 0.5  # another way through the network, for good: no queue, once it is measured again
    line.run(90)
    assert len(line.ages_since(line.now_s - 20)) > 20 * 24


def test_a_server_that_becomes_slow_is_no_slow_line() -> None:
    """It drops what it cannot track, and so has the newest frame when it is ready."""
    line = Line(there_and_back_s=0.1)
    line.run(20)
    before = line.window.limit
    line.at_server_s = 0.3
    line.run(20)
    assert line.window.limit >= before > 4


def test_the_window_has_bounds() -> None:
    line = Line(there_and_back_s=1.5)  # the camera could fill it with 38 frames
    line.run(30)
    assert line.window.limit == MOST
    line.window.restart()
    assert line.window.limit == 2
    for most in (1, 3):
        slow = Line(frame_s=0.2)
        slow.window.most = most
        slow.run(20)
        assert slow.window.limit <= most


@dataclass
class PacketLine:
    """A camera with a bit rate of 250 kB/s and a keyframe a second, a line, and a decoder, in simulated time.

    Attributes:
        rate: in bytes/s.
        held_back: number of frames that the decoder holds back. A keyframe lets all out.
        ages_s: of the results when they arrived, with the time of their arrival.
    """

    rate: float
    held_back: int = 0
    now_s: float = 0.0
    ages_s: list[tuple[float, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.window = PacketWindow(MOST, clock=lambda: self.now_s)
        self._number = 0
        self._free_s = 0.0
        self._waiting: deque[int] = deque()
        self._in_flight: set[int] = set()
        self._on_line: deque[tuple[float, int]] = deque()
        self._in_decoder: deque[tuple[float, int]] = deque()

    def run(self, seconds: float) -> None:
        """Send packets in their order; a keyframe replaces a backlog of more than a second."""
        until_s = self.now_s + seconds
        while self.now_s < until_s:
            if self._number / 25 <= self.now_s:
                if self._number % 25 == 0 and self._waiting and self._number - self._waiting[0] > 25:
                    self._waiting.clear()
                self._waiting.append(self._number)
                self._number += 1
            while self._on_line and self._on_line[0][0] <= self.now_s:
                self._decode(*self._on_line.popleft())
            while self._waiting and len(self._in_flight) < self.window.limit:
                number = self._waiting.popleft()
                self._in_flight.add(number)
                self.window.record_sent(number)
                self._free_s = max(self._free_s, self.now_s) + (106e3 if number % 25 == 0 else 6e3) / self.rate
                self._on_line.append((self._free_s + 0.03, number))
            self.now_s = min([self._number / 25, *(arrives_s for arrives_s, _ in self._on_line)])

    def _decode(self, arrived_s: float, number: int) -> None:
        self._in_decoder.append((arrived_s, number))
        while len(self._in_decoder) > (self.held_back if number % 25 else min(1, self.held_back)):
            arrived_s, number = self._in_decoder.popleft()
            self._in_flight.remove(number)
            self.window.record_answered(number, self.now_s - arrived_s)
            self.ages_s.append((self.now_s, self.now_s - number / 25))

    def ages_since(self, since_s: float) -> list[float]:
        return [age_s for at_s, age_s in self.ages_s if at_s >= since_s]


@pytest.mark.parametrize(("rate", "median_s", "fewest"), [(80e3, 2.3, 4.9), (125e3, 1.5, 10), (200e3, 1.3, 19)])
def test_packets_of_a_slow_line_wait_where_keyframes_replace_them(rate: float, median_s: float, fewest: float) -> None:
    line = PacketLine(rate)
    line.run(60)
    ages_s = line.ages_since(10)
    assert len(ages_s) >= 50 * fewest
    assert sorted(ages_s)[len(ages_s) // 2] < median_s


@pytest.mark.parametrize("held_back", [0, 16])
def test_packets_are_not_held_back_on_a_line_that_is_fast_enough(held_back: int) -> None:
    line = PacketLine(280e3, held_back)
    line.run(20)
    assert len(line.ages_s) > 20 * 25 - 30
    assert max(line.ages_s)[1] < 1


def test_a_decoder_that_holds_frames_back_gets_what_it_waits_for() -> None:
    line = PacketLine(125e3, held_back=16)
    line.run(20)
    assert line.window.limit >= 17
    line = PacketLine(125e3)
    line.run(20)
    line.held_back = 16
    line.run(20)
    times_s = [at_s for at_s, _ in line.ages_s]
    assert max(after - before for before, after in pairwise(times_s)) < 6.5
    assert len(line.ages_since(30)) > 70


def test_packets_of_another_call_begin_anew() -> None:
    line = PacketLine(60e3)
    line.run(20)
    assert line.window.limit < 17
    line.window.restart()
    assert line.window.limit == MOST


@given(
    kind=st.sampled_from([PictureWindow, PacketWindow]),
    most=st.integers(1, 32),
    steps=st.lists(st.tuples(st.floats(0, 100), st.sampled_from(["send", "answer", "drop"]), st.floats(0, 10))),
)
def test_a_window_lets_something_be_in_flight_and_no_more_than_allowed(
    kind: type[SendWindow], most: int, steps: list[tuple[float, str, float]]
) -> None:
    now_s = 0.0
    window = kind(most, clock=lambda: now_s)
    in_flight: list[int] = []
    for number, (wait_s, step, at_server_s) in enumerate(steps):
        now_s += wait_s
        if step == "send" and len(in_flight) < window.limit:
            window.record_sent(number)
            in_flight.append(number)
        elif in_flight:
            window.record_answered(in_flight.pop(0), at_server_s if step == "answer" else None)
        assert 1 <= window.limit <= most


@pytest.mark.parametrize(
    ("settings", "kind", "most"),
    [
        (StreamSettings(), SendWindow, 8),
        (StreamSettings(drop_policy="latest"), PictureWindow, 32),
        (StreamSettings(drop_policy="latest", max_in_flight=5), PictureWindow, 5),
        (StreamSettings(drop_policy="latest", codec="h264"), PacketWindow, 32),
        (StreamSettings(drop_policy="all", codec="h264", max_in_flight=5), SendWindow, 5),
    ],
)
def test_which_window_a_stream_has(settings: StreamSettings, kind: type[SendWindow], most: int) -> None:
    window = window_for(settings)
    assert (type(window), window.most) == (kind, most)
    for number in range(100):
        window.record_sent(number)
        window.record_answered(number, 0.0)
    window.record_answered(999)  # of an earlier call
    assert 1 <= window.limit <= most
