from __future__ import annotations

from contextlib import suppress
from dataclasses import fields, replace
from functools import partial

import numpy as np
import pytest
from google.protobuf.message import DecodeError, Message
from hypothesis import given
from hypothesis import strategies as st

from posewire.joints import NANO19
from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire.v1.pose_tracking_service_pb2 import EstimatePosesRequest
from posewire_server.errors import InvalidRequest
from posewire_server.streams import resume
from posewire_server.streams.snapshots import Snapshot, Snapshots
from posewire_server.tracking import Tracker, TrackerConfig
from posewire_server.wire import message_size
from posewire_server.wire.message_size import BULK_OF_CALLS, MOST_TOKEN_BYTES, check_size

_KIB = 1024
_BIG = bytes(300 * _KIB)
_NEW_FIELDS = b"\xf9\x7f" + b"\xff" * 8 + b"\xfd\x7f" + b"\xff" * 4


def _config(**resume: bytes) -> track_pb2.TrackRequest:
    return track_pb2.TrackRequest(config=settings_pb2.StreamConfig(resume=settings_pb2.ResumeRequest(**resume)))


def _boxes(count: int) -> pose_pb2.BoxList:
    box = pose_pb2.Box(x=1000.5, y=1000.5, width=100.5, height=100.5, score=0.5)
    return pose_pb2.BoxList(boxes=[box] * count)


def _with_picture(fields: bytes) -> bytes:
    return EstimatePosesRequest(data=_BIG).SerializeToString() + fields


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("EstimatePoses", EstimatePosesRequest(data=_BIG, boxes=_boxes(1000))),
        ("Track", track_pb2.TrackRequest(frame=track_pb2.Frame(data=_BIG, boxes=_boxes(1000)))),
        ("Track", _config(token=bytes(MOST_TOKEN_BYTES), last_frame=_BIG)),
        ("Other", settings_pb2.ResumeRequest(token=bytes(60 * _KIB))),
        ("EstimatePoses", EstimatePosesRequest.FromString(_with_picture(_NEW_FIELDS))),  # of a newer client
    ],
)
def test_requests_as_clients_make_them(call: str, message: Message) -> None:
    check_size(message.SerializeToString(), BULK_OF_CALLS.get(call, {}))


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("EstimatePoses", EstimatePosesRequest(data=_BIG, boxes=_boxes(20_000))),
        ("EstimatePoses", EstimatePosesRequest(joint_set="x" * 300 * _KIB)),
        ("EstimatePoses", EstimatePosesRequest(boxes=pose_pb2.BoxList(boxes=[pose_pb2.Box()] * 40_000))),
        ("Track", track_pb2.TrackRequest(frame=track_pb2.Frame(data=_BIG, boxes=_boxes(20_000)))),
        ("Track", track_pb2.TrackRequest(config=settings_pb2.StreamConfig(name="x" * 300 * _KIB))),
        ("Track", _config(token=bytes(MOST_TOKEN_BYTES + 300 * _KIB))),  # more than a token can have
        ("EstimatePoses", track_pb2.TrackRequest(frame=track_pb2.Frame(data=_BIG))),  # of another call
        ("Other", EstimatePosesRequest(data=_BIG)),
    ],
)
def test_too_much_beside_the_picture(call: str, message: Message) -> None:
    with pytest.raises(InvalidRequest, match=r"more than 65536 bytes, or 1000 fields, besides .* a resume token"):
        check_size(message.SerializeToString(), BULK_OF_CALLS.get(call, {}))


@pytest.mark.parametrize(
    "field",
    [
        b"\x1a\x00",  # no picture, again and again
        b"\x22\x00",  # empty lists of boxes
        b"\x08\x01",
        b"\xfd\x7f\x00\x00\x00\x00",  # a field of a newer client
    ],
)
def test_fields_without_end_are_not_walked_through(field: bytes) -> None:
    for data in (field * 10_000_000, _with_picture(field * 1000)):
        with pytest.raises(InvalidRequest):
            check_size(data, BULK_OF_CALLS["EstimatePoses"])


@pytest.mark.parametrize(
    "end",
    [
        b"\x1a\x05abc",  # a picture that is cut off
        b"\x1a",  # a tag alone
        b"\x35\x00\x00",  # a number that is cut off
        b"\x08\x80",
        b"\x08" + b"\x80" * 10 + b"\x01",  # a number that is too long
        b"\x0b" + b"\x08\x01" * 4 + b"\x0c",  # a group, which would hide what it has
        b"\x0f",  # no wire type
    ],
)
def test_what_is_no_message(end: bytes) -> None:
    with pytest.raises(DecodeError):
        check_size(_with_picture(end), BULK_OF_CALLS["EstimatePoses"])


def test_a_token_of_the_most_instances_is_not_too_large() -> None:
    config = TrackerConfig()
    state = Tracker(config, NANO19.sigmas).state()
    rows = resume._MOST_INSTANCES
    arrays = {field.name: getattr(state.queue, field.name) for field in fields(state.queue)}
    full = {name: np.zeros((rows, *old.shape[1:]), old.dtype) for name, old in arrays.items() if np.ndim(old)}
    snapshot = Snapshot(replace(state, queue=replace(state.queue, **full)), (2160, 3840), 1e9, 1 / 30)
    assert 0.8 * MOST_TOKEN_BYTES < len(Snapshots(bytes(32), 60, NANO19).issue(snapshot, config)) < MOST_TOKEN_BYTES


_anything = st.binary(max_size=300)
_messages = st.one_of(
    st.builds(
        EstimatePosesRequest,
        codec=st.integers(0, 6),
        data=_anything,
        joint_set=st.text(max_size=9),
        box_score_threshold=st.floats(0, 1, width=32),
        boxes=st.integers(0, 3).map(_boxes),
    ),
    st.builds(
        track_pb2.TrackRequest,
        frame=st.builds(track_pb2.Frame, number=st.integers(0, 2**64 - 1), data=_anything, elapsed=st.just(1.5)),
    ),
    st.builds(_config, token=_anything, last_frame=_anything),
)


@given(message=_messages)
def test_all_bytes_count_but_those_of_pictures_and_tokens(message: Message) -> None:
    counting = message_size._Count(message.SerializeToString())
    counting.walk(0, message.ByteSize(), BULK_OF_CALLS[_call_of(message)])
    if isinstance(message, EstimatePosesRequest):
        bulk = len(message.data)
    else:
        assert isinstance(message, track_pb2.TrackRequest)
        resumed = message.config.resume
        bulk = len(message.frame.data) + len(resumed.token) + len(resumed.last_frame)
    assert counting._bytes == message.ByteSize() - bulk


def _call_of(message: Message) -> str:
    return "Track" if isinstance(message, track_pb2.TrackRequest) else "EstimatePoses"


_cut = st.tuples(_messages, st.integers(0, 300), st.binary(max_size=9)).map(
    lambda parts: parts[0].SerializeToString()[: parts[1]] + parts[2]
)


@given(data=st.one_of(st.binary(max_size=100), _cut))
def test_what_is_a_message_is_walked_to_its_end(data: bytes) -> None:
    walk = partial(message_size._Count(data).walk, 0, len(data), BULK_OF_CALLS["Track"])
    try:
        track_pb2.TrackRequest.FromString(data)
    except DecodeError:
        with suppress(DecodeError, IndexError):  # and no other error
            walk()
        return
    try:
        walk()
    except DecodeError as error:
        assert "wire type 3" in str(error)  # noqa: PT017  groups alone
