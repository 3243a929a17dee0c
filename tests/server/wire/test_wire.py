from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from posewire.joints import COCO17, JOINT_SETS, NANO19
from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire.v1.pose_tracking_service_pb2 import EstimatePosesRequest
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import PICTURE_CODECS, Codec
from posewire_server.errors import BadBoxes, InvalidRequest
from posewire_server.streams.inbox import DropPolicy
from posewire_server.tracking import Boxes, BoxSource, TrackedPeople, TrackerConfig
from posewire_server.wire.names import CODECS, DROP_POLICIES, DROP_REASONS, SIMILARITIES
from posewire_server.wire.requests import boxes_from, captured_s, codec_from, score_threshold_from, settings_from
from posewire_server.wire.responses import joint_set_message, people_messages, settings_message

_DEFAULTS, _LIMITS = TrackerConfig(), LimitsConfig()

_numbers = st.integers(0, 2**32 - 1) | st.integers(0, 20)
_floats = st.floats(width=32, allow_nan=True, allow_infinity=True) | st.floats(0, 1, width=32)
_tracker = st.builds(
    settings_pb2.TrackerSettings,
    similarity=st.none() | st.integers(0, 6),
    propagation=st.none() | st.booleans(),
    queue_length=st.none() | _numbers,
    box_score_threshold=st.none() | _floats,
    match_threshold=st.none() | _floats,
    pose_nms_oks=st.none() | _floats,
    detect_every=st.none() | _numbers,
    max_people=st.none() | _numbers,
)
_configs = st.builds(
    settings_pb2.StreamConfig,
    codec=st.integers(0, 8),
    raw_size=st.none() | st.builds(pose_pb2.FrameSize, width=_numbers, height=_numbers),
    tracker=st.none() | _tracker,
    drop_policy=st.integers(0, 4),
    max_age_ms=st.none() | _numbers,
    joint_set=st.sampled_from(["", "coco17", "posetrack15", "nano19", "squid"]),
    name=st.text(max_size=70),
    max_detect_every=st.none() | _numbers,
)


@given(config=_configs)
def test_any_configuration_is_settled_or_refused_with_its_field(config: settings_pb2.StreamConfig) -> None:
    refusal = None
    try:
        settings = settings_from(config, _DEFAULTS, _LIMITS, NANO19)
    except InvalidRequest as error:
        refusal = error
    if refusal is not None:
        assert refusal.field.startswith("config.")
        assert refusal.message
        return
    settled = settings_message(settings)
    # What was settled is valid, and settles nothing further.
    assert settings_message(settings_from(settled, _DEFAULTS, _LIMITS, NANO19)) == settled
    assert settings.tracker.max_people <= _LIMITS.max_people


def test_what_is_left_out_has_the_servers_default() -> None:
    settings = settings_from(settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG), _DEFAULTS, _LIMITS, NANO19)
    assert settings.codec is Codec.JPEG
    assert settings.tracker == _DEFAULTS
    assert settings.drop_policy is DropPolicy.LATEST
    assert settings.joint_set is NANO19
    assert settings.resume is None


def test_zero_is_a_value_and_not_left_out() -> None:
    tracker = settings_pb2.TrackerSettings(box_score_threshold=0.0, propagation=False)
    config = settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG, tracker=tracker)
    settings = settings_from(config, _DEFAULTS, _LIMITS, NANO19)
    assert settings.tracker.box_score_threshold == 0.0
    assert not settings.tracker.propagation


@pytest.mark.parametrize(
    ("enum", "table"),
    [
        (pose_pb2.Codec, CODECS.keys()),
        (settings_pb2.Similarity, SIMILARITIES.keys()),
        (settings_pb2.DropPolicy, DROP_POLICIES.keys()),
    ],
)
def test_every_value_of_the_wire_is_known_inside(enum: object, table: object) -> None:
    assert set(enum.values()) - {0} == set(table)  # type: ignore[attr-defined, call-overload]
    assert set(DROP_REASONS.values()) == set(track_pb2.DropReason.values()) - {0}


@pytest.mark.parametrize("number", [0, 99, pose_pb2.CODEC_H265])
def test_codecs_of_video_are_not_advised_for_a_picture(number: pose_pb2.Codec.ValueType) -> None:
    with pytest.raises(InvalidRequest, match=r"use one of CODEC_JPEG \(1\), .*, CODEC_RAW_BGR24 \(4\)$"):
        codec_from(number, "codec", PICTURE_CODECS)


_any_box = st.tuples(*[st.floats(width=32, allow_nan=True, allow_infinity=True)] * 5)
_usable_box = st.tuples(
    *[st.floats(-1000, 1000, width=32)] * 2, *[st.floats(0.125, 1000, width=32)] * 2, st.floats(0, 1, width=32)
)


@given(rows=st.lists(_usable_box, max_size=4) | st.lists(_any_box, max_size=4))
def test_boxes_are_usable_or_refused(rows: list[tuple[float, ...]]) -> None:
    message = pose_pb2.BoxList(
        boxes=[pose_pb2.Box(x=x, y=y, width=width, height=height, score=score) for x, y, width, height, score in rows]
    )
    try:
        boxes = boxes_from(message, _LIMITS)
    except BadBoxes:
        return
    assert len(boxes) == len(rows)
    assert np.isfinite(boxes.xyxy).all()
    assert ((boxes.scores >= 0) & (boxes.scores <= 1)).all()
    assert (boxes.xyxy[:, 2:] >= boxes.xyxy[:, :2]).all()


@pytest.mark.parametrize(
    ("box", "says"),
    [
        (pose_pb2.Box(x=math.nan, width=1, height=1), "within 1e\\+06 pixels"),
        (pose_pb2.Box(x=3e38, width=3e38, height=1), "within 1e\\+06 pixels"),  # finite, but x + width is not
        (pose_pb2.Box(width=0, height=5), "above 0"),
        (pose_pb2.Box(width=5, height=5, score=1.5), "0..1"),
    ],
)
def test_what_is_wrong_with_a_box_is_said(box: pose_pb2.Box, says: str) -> None:
    with pytest.raises(BadBoxes, match=says):
        boxes_from(pose_pb2.BoxList(boxes=[pose_pb2.Box(width=1, height=1), box]), _LIMITS)


def test_what_lies_on_the_bounds_is_within_them() -> None:
    message = pose_pb2.BoxList(boxes=[pose_pb2.Box(x=1e6, y=-1e6, width=1e6, height=1e6, score=0)])
    assert boxes_from(message, _LIMITS).xyxy.tolist() == [[1e6, -1e6, 2e6, 0]]
    for threshold in (0, 1):
        request = EstimatePosesRequest(box_score_threshold=threshold)
        assert score_threshold_from(request, _DEFAULTS) == threshold


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, math.inf])
def test_no_threshold_is_out_of_bounds(threshold: float) -> None:
    with pytest.raises(InvalidRequest, match=r"must lie in 0\.\.1"):
        score_threshold_from(EstimatePosesRequest(box_score_threshold=threshold), _DEFAULTS)


@pytest.mark.parametrize(
    ("width", "height", "says"),
    [
        (0, 480, "need their width and height"),
        (640, 0, "need their width and height"),
        (_LIMITS.max_frame_pixels, 2, "pixels"),
    ],
)
def test_raw_frames_have_a_size_within_the_limits(width: int, height: int, says: str) -> None:
    size = pose_pb2.FrameSize(width=width, height=height)
    config = settings_pb2.StreamConfig(codec=pose_pb2.CODEC_RAW_RGB24, raw_size=size)
    with pytest.raises(InvalidRequest, match=says) as caught:
        settings_from(config, _DEFAULTS, _LIMITS, NANO19)
    assert caught.value.field == "config.raw_size"
    config.raw_size.width, config.raw_size.height = 640, 480
    assert settings_from(config, _DEFAULTS, _LIMITS, NANO19).raw_size == (640, 480)


@given(nanoseconds=st.integers(-(2**55), 2**61))
def test_the_time_of_a_frame_is_in_seconds(nanoseconds: int) -> None:
    frame = track_pb2.Frame()
    assert captured_s(frame) is None
    frame.capture_time.FromNanoseconds(nanoseconds)
    assert captured_s(frame) == pytest.approx(nanoseconds / 1e9, rel=1e-15, abs=1e-9)


def test_a_box_without_a_score_is_certain() -> None:
    boxes = boxes_from(pose_pb2.BoxList(boxes=[pose_pb2.Box(x=1, y=2, width=3, height=4)]), _LIMITS)
    assert boxes.xyxy.tolist() == [[1, 2, 4, 6]]
    assert boxes.scores.tolist() == [1.0]
    assert boxes.sources.tolist() == [BoxSource.CALLER]


def test_people_go_out_in_the_wanted_joints() -> None:
    joints = np.arange(2 * 17 * 3, dtype=np.float32).reshape(2, 17, 3)
    boxes = Boxes.of([[1, 2, 11, 22], [0, 0, 5, 5]], [0.5, 0.25], BoxSource.FLOW)
    people = TrackedPeople(np.array([7, 3]), np.array([0.4, 0.2], np.float32), boxes, joints)
    first, second = people_messages(people, COCO17, COCO17)
    assert (first.id, second.id) == (7, 3)
    assert first.score == pytest.approx(0.4)
    assert (first.box.x, first.box.y, first.box.width, first.box.height, first.box.score) == (1, 2, 10, 20, 0.5)
    assert first.box_source == pose_pb2.BOX_SOURCE_FLOW
    assert list(second.joints) == joints[1].ravel().tolist()
    (converted, _) = people_messages(people, COCO17, JOINT_SETS["posetrack15"])
    assert list(converted.joints[:3]) == joints[0, 0].tolist()  # the nose is first in both
    assert len(converted.joints) == 45


@given(
    joints=arrays(
        np.float32,
        st.tuples(st.integers(0, 4), st.just(17), st.just(3)),
        elements=st.floats(width=32, allow_nan=False),
    )
)
def test_joints_arrive_as_they_are(joints: np.ndarray) -> None:
    n = len(joints)
    boxes = Boxes.of(np.zeros((n, 4)), np.zeros(n), BoxSource.DETECTOR)
    for laid_out in (joints, np.asfortranarray(joints), joints.astype(">f4")):
        people = TrackedPeople(np.arange(n), np.zeros(n, np.float32), boxes, laid_out)
        for pose, message in zip(joints, people_messages(people, COCO17, COCO17), strict=True):
            received = pose_pb2.Person.FromString(message.SerializeToString())
            assert list(received.joints) == pose.ravel().tolist()


def test_nobody_goes_out_as_nobody() -> None:
    empty = TrackedPeople(
        np.zeros(0, np.int64), np.zeros(0, np.float32), Boxes.empty(), np.zeros((0, 17, 3), np.float32)
    )
    assert people_messages(empty, COCO17, COCO17) == []
    assert people_messages(empty, COCO17, NANO19) == []


def test_skeletons_go_out_by_index() -> None:
    message = joint_set_message(COCO17)
    assert list(message.names) == list(COCO17.names)
    assert [(getattr(edge, "from"), edge.to) for edge in message.edges] == list(COCO17.edges)
