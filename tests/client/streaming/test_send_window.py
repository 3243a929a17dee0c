from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest

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
            if self.now_s >= due_s - 1e-9:
                fresh, due_s = due_s, due_s + self.interval_s
            if fresh is not None and len(self._in_flight) < self.window.limit:
                self._send(fresh)
                fresh = None
            self._answer()
            self.now_s += 0.001

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
        pytest.param(Line(there_and_back_s=0.6), 24, id="satellite"),
        pytest.param(Line(at_server_s=0.1), 10, id="busy server"),
    ],
)
def test_a_line_that_is_fast_enough_carries_every_frame(line: Line, rate: float) -> None:
    line.run(200)
    assert len(line.ages_since(10)) >= 190 * rate - 1


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


def test_packets_are_held_back_only_while_one_is_in_flight_for_long() -> None:
    now_s = 0.0
    window = PacketWindow(MOST, clock=lambda: now_s)
    for number in range(20):
        window.record_sent(number)
    now_s = 0.9
    window.record_sent(20)
    assert window.limit == MOST
    now_s = 1.1
    assert window.limit == 17  # as many as make a decoder answer that holds back as many as the standards allow
    for number in range(20):
        window.record_answered(number)
    assert window.limit == MOST
    now_s = 2.0
    assert window.limit == 17
    window.restart()
    assert window.limit == MOST


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
