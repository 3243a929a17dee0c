from __future__ import annotations

import pytest

from posewire.joints import COCO17
from posewire.v1 import pose_pb2, settings_pb2
from posewire_server.config import LimitsConfig
from posewire_server.streams.outbox import Accounts
from posewire_server.streams.progress import Pace, Progress
from posewire_server.streams.session import Session
from posewire_server.tracking import Tracker, TrackerConfig
from posewire_server.wire.requests import settings_from
from posewire_server.wire.responses import stream_state_message


class Watched(Progress):
    def __init__(self) -> None:
        self.now = 1000.0
        config = settings_pb2.StreamConfig(codec=pose_pb2.CODEC_PNG, name="door")
        settings = settings_from(config, TrackerConfig(), LimitsConfig(), COCO17)
        session = Session("abc", Tracker(TrackerConfig(), COCO17.sigmas))
        super().__init__(session, settings, Accounts(), "yard", lambda: self.now)

    def play(self, seconds: float, fps: float, latency_ms: float) -> None:
        for _ in range(round(seconds * fps)):
            self.now += 1 / fps
            self.tracked((480, 640), 2, latency_ms)


def test_before_the_first_frame_there_is_no_pace() -> None:
    progress = Watched()
    assert progress.pace() == Pace()
    progress.now += 5.0
    assert progress.pace() == Pace()
    message = stream_state_message(progress)
    assert (message.people, message.HasField("size"), message.open_for.ToMilliseconds()) == (0, False, 5000)


@pytest.mark.parametrize("fps", [4, 25, 400])  # at 400 not all frames of the window are remembered
@pytest.mark.parametrize("seconds", [2, 20])
def test_a_steady_stream(fps: float, seconds: float) -> None:
    progress = Watched()
    progress.play(seconds, fps, 40.0)
    assert progress.pace().fps == pytest.approx(fps, rel=0.1)
    assert progress.pace().latency_ms == 40.0


def test_only_the_last_seconds_count() -> None:
    progress = Watched()
    progress.play(30, 10, 500.0)
    progress.play(6, 20, 30.0)
    assert progress.pace() == Pace(pytest.approx(20, rel=0.1), 30.0, 30.0)
    progress.now += 10.0  # nothing comes any more
    assert progress.pace() == Pace()


def test_slow_frames_show_in_the_95th_percentile() -> None:
    progress = Watched()
    progress.play(3.6, 25, 30.0)
    progress.play(0.4, 25, 200.0)
    assert progress.pace().latency_ms == 30.0
    assert progress.pace().latency_p95_ms == 200.0


def test_of_twenty_frames_the_slowest_is_beyond_the_95th_percentile() -> None:
    progress = Watched()
    progress.play(0.76, 25, 30.0)
    progress.play(0.04, 25, 200.0)
    assert progress.pace().latency_p95_ms == 30.0
    progress.play(0.04, 25, 200.0)
    assert progress.pace().latency_p95_ms == 200.0


def test_as_a_message() -> None:
    progress = Watched()
    progress.accounts.received = 3
    progress.play(0.1, 10, 30.0)
    message = stream_state_message(progress)
    assert (message.stream_id, message.name, message.caller) == ("abc", "door", "yard")
    assert (message.size.width, message.size.height, message.people) == (640, 480, 2)
    assert message.received == 3
    assert message.open_for.ToMilliseconds() == 100
    assert message.codec == pose_pb2.CODEC_PNG
    assert message.drop_policy == settings_pb2.DROP_POLICY_LATEST
