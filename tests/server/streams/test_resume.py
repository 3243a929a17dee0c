from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

from posewire.joints import COCO17
from posewire.v1 import pose_pb2, settings_pb2
from posewire_models.frames import Frame
from posewire_server.config import LimitsConfig
from posewire_server.streams.frame_clock import FrameClock
from posewire_server.streams.resume import continue_session, snapshot_of
from posewire_server.streams.session import Session
from posewire_server.streams.snapshots import Snapshots
from posewire_server.tracking import Boxes, BoxSource, Tracker, TrackerConfig
from posewire_server.wire.requests import settings_from
from posewire_server.workers import Workers
from tests.server.stand_ins import jpeg, picture

_CONFIG, _LIMITS = TrackerConfig(), LimitsConfig()


def _session() -> Session:
    return Session("test", Tracker(_CONFIG, COCO17.sigmas), FrameClock(may_drop=True))


def _continued(session: Session, limits: LimitsConfig = _LIMITS, **resume: Any) -> Session:
    """A session that goes on from a snapshot of another."""
    snapshots, decoders = Snapshots(bytes(32), 60, COCO17), Workers(1, "test")
    token = snapshots.issue(snapshot_of(session), _CONFIG)
    raw_size = resume.pop("raw_size", None)
    config = settings_pb2.StreamConfig(
        codec=pose_pb2.CODEC_JPEG,
        raw_size=raw_size,
        resume=settings_pb2.ResumeRequest(token=token, **{"last_frame": jpeg(picture()), **resume}),
    )
    settings = settings_from(config, _CONFIG, limits, COCO17)
    assert settings.resume is not None
    other = _session()
    resuming = continue_session(other, settings, settings.resume, snapshots, decoders, limits)
    try:
        assert asyncio.run(resuming) == ""
    finally:
        decoders.close()
    return other


def test_a_resumed_stream_knows_how_long_it_was_away() -> None:
    session = _session()
    for number in range(5):
        session.saw(Frame(picture()), session.clock.received(1000 + 0.04 * number, 0.0))
    other = _continued(session)
    assert other.previous is not None
    assert other.previous.taken_s == session.previous_s
    assert other.clock.elapsed(other.previous_s, other.clock.received(1000.56, 0.0)) == 10.0


@pytest.mark.parametrize("captured_s", [None, 1.8e9])  # a client may begin to send capture times
def test_times_of_arrival_are_not_carried_to_another_server(captured_s: float | None) -> None:
    session = _session()
    for number in range(5):
        session.saw(Frame(picture()), session.clock.received(None, 5000 + 0.04 * number))
    other = _continued(session)
    assert other.clock.interval_s is None
    other.clock.resume(0.04)  # known or not
    assert other.clock.elapsed(other.previous_s, other.clock.received(captured_s, 7.0)) == 1.0


@pytest.mark.parametrize("is_sized", [True, False])
def test_the_last_frame_may_be_raw_although_those_to_come_are_not(is_sized: bool) -> None:
    session = _session()
    session.saw(Frame(picture()), None)
    size = pose_pb2.FrameSize(width=320, height=240) if is_sized else None
    raw = {"last_frame": picture().tobytes(), "last_frame_codec": pose_pb2.CODEC_RAW_RGB24, "raw_size": size}
    other = _continued(session, **raw)
    assert (other.previous is not None) is is_sized
    assert other.size == (240, 320)  # the ids go on without it


@pytest.mark.parametrize(
    "resume",
    [
        {"last_frame": jpeg(picture(size=(48, 64)))},  # of another size
        {"last_frame_codec": pose_pb2.CODEC_H264},  # nothing without the units before it
        {"last_frame": b""},
    ],
)
def test_a_last_frame_that_cannot_be_used_gives_the_flow_no_start(resume: dict[str, Any]) -> None:
    session = _session()
    session.saw(Frame(picture()), None)
    other = _continued(session, **resume)
    assert other.previous is None
    assert other.size == (240, 320)


def test_a_last_frame_of_more_bytes_than_are_accepted_is_not_decoded() -> None:
    session = _session()
    session.saw(Frame(picture()), None)
    assert len(jpeg(picture())) > 1024
    assert _continued(session, LimitsConfig(max_frame_bytes=1024)).previous is None


def test_a_token_stays_small_however_long_the_queue_is() -> None:
    config = TrackerConfig(queue_length=1000, propagation=False)
    tracker = Tracker(config, COCO17.sigmas)
    boxes = Boxes.of([[100.0 * n, 0, 100.0 * n + 50, 100] for n in range(40)], np.ones(40), BoxSource.CALLER)
    joints = np.zeros((40, 17, 3), np.float32)
    joints[..., 2], joints[..., 0], joints[..., 1] = 1.0, boxes.xyxy[:, :1] + np.arange(17), np.arange(17) * 5
    for _ in range(52):
        united = tracker.unify(boxes, None, 1.0)
        tracker.update(united, joints)
    session = Session("test", tracker, FrameClock(may_drop=True))
    snapshot = snapshot_of(session)
    assert 40 <= len(snapshot.state.queue) <= 2000 < len(tracker.state().queue)
    assert len(Snapshots(bytes(32), 60, COCO17).issue(snapshot, config)) < 1.5e6
    other = Tracker(config, COCO17.sigmas)
    other.restore(snapshot.state)
    people = other.update(other.unify(boxes, None, 1.0), joints)
    assert people.ids.tolist() == list(range(1, 41))
