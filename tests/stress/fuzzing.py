"""Calls with made-up contents: from plain noise to messages that are nearly right."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import grpc
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import strategies as st

from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2
from tests.server.stand_ins import jpeg, picture, png
from tests.server.videos import Codec, encode

__all__ = ["ALLOWED", "Call", "Outcome", "calls_of_noise", "single_pictures", "streams"]

T = TypeVar("T")

_SERVICE = "/posewire.v1.PoseTrackingService"
_DEADLINE_S = 60.0

ALLOWED = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.OUT_OF_RANGE,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.UNIMPLEMENTED,
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
}
"""What a server may say to nonsense. Not: that it failed, or nothing."""


@dataclass(frozen=True)
class Outcome:
    """How a call ended."""

    code: grpc.StatusCode
    details: str
    responses: list[bytes] = field(default_factory=list, repr=False)


@dataclass(frozen=True)
class Call:
    """Messages, as bytes, to a method."""

    method: str
    messages: tuple[bytes, ...]

    def make(self, channel: grpc.Channel) -> Outcome:
        """Make the call and wait for its end."""
        call = channel.stream_stream(f"{_SERVICE}/{self.method}", _as_it_is, _as_it_is)(
            iter(self.messages), timeout=_DEADLINE_S
        )
        responses: list[bytes] = []
        try:
            for response in call:
                responses.append(response)  # noqa: PERF402  what came before an error counts too
        except grpc.RpcError as error:
            failed: Any = error
            return Outcome(failed.code(), failed.details() or "", responses)
        return Outcome(grpc.StatusCode.OK, "", responses)


def _as_it_is(message: bytes) -> bytes:
    return message


# -- numbers -----------------------------------------------------------------------------------------------------------

_small = st.integers(0, 20)
_u32 = st.one_of(_small, st.integers(0, 2**32 - 1))
_u64 = st.one_of(_small, st.integers(0, 2**64 - 1))
_i32 = st.one_of(_small, st.integers(-(2**31), 2**31 - 1))
_float = st.one_of(st.floats(0, 1, width=32), st.floats(-400, 400, width=32), st.floats(width=32))


def _perhaps(strategy: st.SearchStrategy[T]) -> st.SearchStrategy[T | None]:
    return st.one_of(st.none(), strategy)


def _message(kind: Callable[..., T], **fields: st.SearchStrategy[Any]) -> st.SearchStrategy[T]:
    """A message of which any field may be missing."""
    some = {name: _perhaps(strategy) for name, strategy in fields.items()}
    return st.fixed_dictionaries(some).map(
        lambda values: kind(**{name: value for name, value in values.items() if value is not None})
    )


# -- pictures ----------------------------------------------------------------------------------------------------------

_pixels = picture(size=(48, 64))
_SEEDS = (
    jpeg(_pixels),
    png(_pixels),
    _pixels.tobytes(),
    *encode(Codec.H264, [picture(step, size=(48, 64)) for step in range(3)]),
)


@st.composite
def _spoilt(draw: st.DrawFn) -> bytes:
    """A picture or packet with bytes changed, cut off, doubled or put in."""
    data = bytearray(draw(st.sampled_from(_SEEDS)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, min(len(data) - 1, draw(st.sampled_from([64, 4096, 10**6]))))))
        match draw(st.sampled_from(["change", "cut", "insert", "double"])):
            case "change" if data:
                data[at] = draw(st.integers(0, 255))
            case "cut":
                del data[at:]
            case "insert":
                data[at:at] = draw(st.binary(max_size=16))
            case "double":
                data += data[at : at + 1000]
    return bytes(data)


_data = st.one_of(_spoilt(), st.sampled_from(_SEEDS), st.binary(max_size=64))
_size = st.one_of(
    st.just(pose_pb2.FrameSize(width=64, height=48)), _message(pose_pb2.FrameSize, width=_u32, height=_u32)
)
_codec = st.one_of(st.integers(0, 7), _i32)
_box = st.one_of(
    st.builds(pose_pb2.Box, x=st.floats(0, 30), y=st.floats(0, 30), width=st.floats(1, 30), height=st.floats(1, 30)),
    _message(pose_pb2.Box, x=_float, y=_float, width=_float, height=_float, score=_float),
)
_boxes = st.builds(pose_pb2.BoxList, boxes=st.one_of(st.lists(_box, max_size=4), st.lists(_box, max_size=130)))

# -- messages ----------------------------------------------------------------------------------------------------------

_tracker = _message(
    settings_pb2.TrackerSettings,
    similarity=st.one_of(st.integers(0, 5), _i32),
    propagation=st.booleans(),
    queue_length=_u32,
    box_score_threshold=_float,
    joint_score_threshold=_float,
    box_nms_iou=_float,
    pose_nms_oks=_float,
    match_threshold=_float,
    propagation_threshold=_float,
    detect_every=_u32,
    max_people=_u32,
)
_joint_set = st.one_of(st.sampled_from(["", "coco17", "posetrack15", "mpii"]), st.text(max_size=10))
_resume = _message(settings_pb2.ResumeRequest, token=st.binary(max_size=80), last_frame=_data, last_frame_codec=_codec)
_config = st.one_of(
    st.builds(settings_pb2.StreamConfig, codec=st.integers(1, 6), raw_size=_size),
    _message(
        settings_pb2.StreamConfig,
        codec=_codec,
        raw_size=_size,
        tracker=_tracker,
        drop_policy=st.one_of(st.integers(0, 2), _i32),
        max_age_ms=_u32,
        joint_set=_joint_set,
        name=st.text(max_size=80),
        resume=_resume,
        max_detect_every=_u32,
    ),
)
_time = st.builds(Timestamp, seconds=st.integers(-(2**40), 2**40), nanos=st.integers(-(2**31), 2**31 - 1))
_frame = st.one_of(
    st.builds(track_pb2.Frame, number=_small, data=st.sampled_from(_SEEDS)),
    _message(track_pb2.Frame, number=_u64, capture_time=_time, data=_data, boxes=_boxes),
)
_request = st.one_of(
    st.builds(track_pb2.TrackRequest, frame=_frame),
    st.builds(track_pb2.TrackRequest, frame=_frame),
    st.builds(track_pb2.TrackRequest, config=_config),
    st.just(track_pb2.TrackRequest()),
)


def streams() -> st.SearchStrategy[Call]:
    """Track calls: mostly a configuration and some frames."""
    in_order = st.tuples(
        st.builds(track_pb2.TrackRequest, config=_config),
        st.lists(st.builds(track_pb2.TrackRequest, frame=_frame), max_size=5),
    ).map(lambda parts: [parts[0], *parts[1]])
    requests = st.one_of(in_order, in_order, st.lists(_request, max_size=5))
    return requests.map(lambda messages: Call("Track", tuple(each.SerializeToString() for each in messages)))


def single_pictures() -> st.SearchStrategy[Call]:
    """EstimatePoses calls."""
    made_up = _message(
        pose_tracking_service_pb2.EstimatePosesRequest,
        codec=_codec,
        raw_size=_size,
        data=_data,
        boxes=_boxes,
        joint_set=_joint_set,
        box_score_threshold=_float,
    )
    nearly_right = st.tuples(
        st.sampled_from([(1, _SEEDS[0]), (2, _SEEDS[1]), (3, _SEEDS[2]), (4, _SEEDS[2])]), _size, st.floats(0, 1.1)
    ).map(
        lambda parts: pose_tracking_service_pb2.EstimatePosesRequest(
            codec=parts[0][0], data=parts[0][1], raw_size=parts[1], box_score_threshold=parts[2]
        )
    )
    request = st.one_of(made_up, nearly_right)
    return request.map(lambda message: Call("EstimatePoses", (message.SerializeToString(),)))


def calls_of_noise() -> st.SearchStrategy[Call]:
    """Bytes that are hardly a message, to any method, also to one that does not exist."""
    methods = st.sampled_from(["Track", "EstimatePoses", "GetServerInfo", "ListStreams", "Nothing"])
    nearly = _request.map(lambda message: message.SerializeToString())
    cut = st.tuples(nearly, st.integers(0, 200)).map(lambda parts: parts[0][: parts[1]])
    message = st.one_of(st.binary(max_size=100), nearly, cut)
    return st.builds(Call, methods, st.lists(message, min_size=1, max_size=3).map(tuple))
