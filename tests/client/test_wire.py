from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from posewire import COCO17, InvalidSettings, StreamSettings, TrackerSettings, _wire
from posewire._inputs import boxes_array
from posewire.settings import StreamOptions
from posewire.v1 import pose_pb2, settings_pb2, track_pb2

probability = st.integers(0, 10_000).map(lambda value: value / 10_000)
trackers = st.builds(
    TrackerSettings,
    similarity=st.sampled_from([None, "bbox", "pose", "flow", "multi-flow"]),
    propagation=st.sampled_from([None, True, False]),
    queue_length=st.none() | st.integers(1, 1000),
    match_threshold=st.none() | probability,
    joint_score_threshold=st.none() | probability,
    detect_every=st.none() | st.just(1),
) | st.builds(TrackerSettings, propagation=st.sampled_from([None, True]), detect_every=st.integers(2, 100))
streams = st.builds(
    StreamSettings,
    codec=st.sampled_from(["jpeg", "png", "raw", "h264", "h265"]),
    tracker=trackers,
    drop_policy=st.sampled_from([None, "latest", "all"]),
    max_age_ms=st.none() | st.integers(0, 10**6),
    joint_set=st.sampled_from([None, "coco17"]),
    name=st.text(max_size=64).filter(lambda text: text.isprintable()),
    max_detect_every=st.none() | st.integers(0, 100),
    raw_size=st.none() | st.tuples(st.integers(1, 9999), st.integers(1, 9999)),
)


@given(streams)
def test_settings_come_back_from_the_wire_as_they_were(settings: StreamSettings) -> None:
    request = track_pb2.TrackRequest.FromString(_wire.open_request(settings).SerializeToString())
    started = track_pb2.StreamStarted(config=request.config)
    assert _wire.stream_info_from(started, settings).settings == settings


@given(st.floats(-1e9, 4e9))
def test_times_keep_their_microseconds(time_s: float) -> None:
    stamp = _wire.frame_request(0, time_s, b"", None).frame.capture_time
    assert 0 <= stamp.nanos < 10**9
    assert stamp.seconds + stamp.nanos / 1e9 == pytest.approx(time_s, abs=1e-6)


@given(hnp.arrays(np.float32, (3, 4), elements=st.floats(1, 2**20, width=32)))
def test_boxes_cross_the_wire(corners: Any) -> None:
    boxes = np.concatenate([corners[:, :2], corners[:, :2] + corners[:, 2:]], axis=1)
    sent = _wire.frame_request(0, 0.0, b"", boxes_array(boxes)).frame.boxes.boxes
    back = [[box.x, box.y, box.x + box.width, box.y + box.height] for box in sent]
    np.testing.assert_allclose(back, boxes, rtol=1e-6)
    assert not any(box.HasField("score") for box in sent)


def test_no_boxes_are_an_empty_list() -> None:
    assert boxes_array([]).shape == (0, 4)
    assert _wire.frame_request(0, 0.0, b"", boxes_array([])).frame.HasField("boxes")
    assert not _wire.frame_request(0, 0.0, b"", None).frame.HasField("boxes")


def test_joint_sets_are_known_by_name_and_names() -> None:
    message = pose_pb2.JointSet(name="coco17", names=COCO17.names)
    assert _wire.joint_set_from(message) is COCO17
    # The same name with other joints, from a newer server: the server's joints are used.
    other = _wire.joint_set_from(pose_pb2.JointSet(name="coco17", names=["nose", "left_toe"]))
    assert other.names == ("nose", "left_toe")
    assert len(other.sigmas) == 2


@pytest.mark.parametrize(
    ("reason", "name"),
    [
        (track_pb2.FAILURE_REASON_WRONG_SIZE, "wrong-size"),
        (99, "reason-99"),  # of a newer server
    ],
)
def test_reasons_have_names(reason: Any, name: str) -> None:
    message = track_pb2.FailedFrame.FromString(track_pb2.FailedFrame(reason=reason).SerializeToString())
    assert _wire.failure_reason(message.reason) == name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        (pose_pb2.BOX_SOURCE_FLOW, "flow"),
        (99, "unknown"),  # of a newer server
    ],
)
def test_boxes_say_where_they_come_from(source: Any, name: str) -> None:
    (person,) = _wire.people_from([pose_pb2.Person(box_source=source)])
    assert person.source == name


def test_options_name_every_setting() -> None:
    names = set(StreamOptions.__annotations__)
    assert names == set(StreamSettings.__dataclass_fields__) | set(TrackerSettings.__dataclass_fields__)
    on_the_wire = {field.name for field in settings_pb2.TrackerSettings.DESCRIPTOR.fields}
    assert on_the_wire == set(TrackerSettings.__dataclass_fields__)


@pytest.mark.parametrize("codec", ["passthrough", "h264"])
def test_a_single_picture_is_no_packet(codec: Any) -> None:
    with pytest.raises(InvalidSettings, match="a single picture is sent as 'jpeg', 'png' or 'raw'"):
        _wire.estimate_request(b"", codec, raw_size=None, boxes=None, joint_set=None, box_score_threshold=None)
