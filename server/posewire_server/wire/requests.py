"""From request messages to the server's types, checked and with defaults filled in."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np

from posewire.joints import JOINT_SETS, JointSet
from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import RAW_CODECS, Codec, check_pixels
from posewire_server.errors import BadBoxes, InvalidRequest, PictureTooLarge
from posewire_server.streams.inbox import DropPolicy
from posewire_server.tracking import Boxes, BoxSource, TrackerConfig
from posewire_server.wire.names import CODECS, DROP_POLICIES, SIMILARITIES

__all__ = [
    "ResumeRequest",
    "StreamSettings",
    "boxes_from",
    "captured_s",
    "codec_from",
    "raw_size_from",
    "score_threshold_from",
    "settings_from",
    "wanted_joint_set",
]

_MAX_NAME_LENGTH = 64
# Coordinates beyond this are mistakes, and areas would exceed the range of float32.
_MAX_COORDINATE = 1e6


@dataclass(frozen=True)
class ResumeRequest:
    """What a client sends to continue an earlier stream.

    Attributes:
        token: signed snapshot of its tracker.
        last_frame: encoded; empty if there is none.
        last_frame_codec: its codec.
    """

    token: bytes
    last_frame: bytes
    last_frame_codec: Codec


@dataclass(frozen=True)
class StreamSettings:
    """The settings of a stream, with their final values.

    Attributes:
        codec: of the frames.
        raw_size: (width, height) of raw frames, either the stream's own or the last frame that it is resumed with.
        tracker: settings of the tracker.
        drop_policy: what happens when frames arrive faster than they are processed.
        max_age_ms: older frames are dropped; 0: never.
        joint_set: the joints in the results.
        name: the client's label.
        max_detect_every: how far `detect_every` may be raised under load; 0: not at all.
        resume: the earlier stream to continue, if any.
    """

    codec: Codec
    raw_size: tuple[int, int] | None
    tracker: TrackerConfig
    drop_policy: DropPolicy
    max_age_ms: int
    joint_set: JointSet
    name: str
    max_detect_every: int
    resume: ResumeRequest | None


def settings_from(
    config: settings_pb2.StreamConfig, defaults: TrackerConfig, limits: LimitsConfig, joint_set: JointSet
) -> StreamSettings:
    """Check a stream's configuration and fill in the server's defaults.

    Args:
        config: as the client sent it.
        defaults: for tracker settings that it leaves out.
        limits: of the server.
        joint_set: of the pose network.

    Raises:
        InvalidRequest: a value is missing, unknown or out of range.
    """
    codec = codec_from(config.codec, "config.codec")
    if config.drop_policy not in (settings_pb2.DROP_POLICY_UNSPECIFIED, *DROP_POLICIES):
        raise InvalidRequest(
            f"drop_policy is {config.drop_policy}; use DROP_POLICY_LATEST (1) or DROP_POLICY_ALL (2)",
            field="config.drop_policy",
        )
    if len(config.name) > _MAX_NAME_LENGTH:
        raise InvalidRequest(
            f"name has {len(config.name)} characters; at most {_MAX_NAME_LENGTH} are allowed", field="config.name"
        )
    tracker = _tracker_from(config.tracker, defaults, limits)
    if 0 < config.max_detect_every < tracker.detect_every:
        raise InvalidRequest(
            f"max_detect_every is {config.max_detect_every}, below detect_every ({tracker.detect_every}); raise it, or "
            "leave it out",
            field="config.max_detect_every",
        )
    resume = _resume_from(config.resume, codec) if config.HasField("resume") else None
    sized = codec
    if codec not in RAW_CODECS and resume is not None and config.HasField("raw_size"):
        sized = resume.last_frame_codec  # if it is raw: without a size, only that frame is unusable
    return StreamSettings(
        codec=codec,
        raw_size=raw_size_from(config.raw_size, sized, limits, "config.raw_size"),
        tracker=tracker,
        drop_policy=DROP_POLICIES.get(config.drop_policy, DropPolicy.LATEST),
        max_age_ms=config.max_age_ms,
        joint_set=wanted_joint_set(config.joint_set, joint_set, "config.joint_set"),
        name=config.name,
        max_detect_every=config.max_detect_every,
        resume=resume,
    )


def codec_from(number: pose_pb2.Codec.ValueType, field: str, among: Collection[Codec] = frozenset(Codec)) -> Codec:
    """The codec with this number. Raises an `InvalidRequest` that lists those in `among` if it is none of them."""
    if CODECS.get(number) not in among:
        names = {known: f"{pose_pb2.Codec.Name(known)} ({known})" for known in CODECS}
        usable = ", ".join(names[known] for known, codec in CODECS.items() if codec in among)
        raise InvalidRequest(f"codec is {names.get(number, number or 'missing')}; use one of {usable}", field=field)
    return CODECS[number]


def raw_size_from(size: pose_pb2.FrameSize, codec: Codec, limits: LimitsConfig, field: str) -> tuple[int, int] | None:
    """(width, height) for a raw codec; None for other codecs, whose data contains it.

    Raises:
        InvalidRequest: it is missing for a raw codec, or exceeds the limits.
    """
    if codec not in RAW_CODECS:
        return None
    if 0 in (size.width, size.height):
        raise InvalidRequest(f"{codec} frames need their width and height, each at least 1", field=field)
    try:
        check_pixels(size.width, size.height, limits)
    except PictureTooLarge as error:
        raise InvalidRequest(error.message, field=field) from error
    return size.width, size.height


def wanted_joint_set(name: str, own: JointSet, field: str) -> JointSet:
    """The joint set with this name; `own`, the pose network's, if it is empty. Raises `InvalidRequest` if unknown."""
    if name in ("", own.name):
        return own
    if name not in JOINT_SETS:
        known = ", ".join(sorted({own.name, *JOINT_SETS}))
        # In part: gRPC cannot send an error of more than 16 kB.
        raise InvalidRequest(
            f"joint_set is {name[:_MAX_NAME_LENGTH]!r}; use one of {known}, or leave it out", field=field
        )
    return JOINT_SETS[name]


def captured_s(frame: track_pb2.Frame) -> float | None:
    """When a frame was taken, on the client's clock; None if not given."""
    time = frame.capture_time
    return time.seconds + time.nanos / 1e9 if frame.HasField("capture_time") else None


def boxes_from(boxes: pose_pb2.BoxList, limits: LimitsConfig) -> Boxes:
    """The caller's boxes, in their order.

    Raises:
        BadBoxes: too many, not finite, without area, far outside any frame, or with a score outside 0..1.
    """
    if len(boxes.boxes) > limits.max_people:
        raise BadBoxes(
            f"{len(boxes.boxes)} boxes are given; this server takes {limits.max_people} a frame (limits.max_people): "
            "send the best ones",
            field="boxes",
        )
    rows = [(box.x, box.y, box.width, box.height, _score(box)) for box in boxes.boxes]
    for index, (x, y, width, height, score) in enumerate(rows):
        if fault := _fault_of_box(x, y, width, height, score):
            shown = f"box {index} is x {x:g}, y {y:g}, width {width:g}, height {height:g}, score {score:g}"
            raise BadBoxes(f"{shown}; {fault}", field="boxes")
    given = np.array(rows, np.float64).reshape(-1, 5)
    corners = np.concatenate([given[:, :2], given[:, :2] + given[:, 2:4]], axis=1)
    return Boxes.of(corners, given[:, 4], BoxSource.CALLER)


def _score(box: pose_pb2.Box) -> float:
    return box.score if box.HasField("score") else 1.0


def _fault_of_box(x: float, y: float, width: float, height: float, score: float) -> str:
    """What is wrong with a box and how it should be; empty if nothing is. NaNs fail every comparison."""
    if not all(abs(coordinate) <= _MAX_COORDINATE for coordinate in (x, y, width, height)):
        return f"coordinates must be numbers within {_MAX_COORDINATE:g} pixels"
    if not (width > 0 and height > 0):
        return "width and height must be above 0"
    if not 0 <= score <= 1:
        return "scores lie in 0..1, or are left out, which means 1"
    return ""


def score_threshold_from(request: pose_tracking_service_pb2.EstimatePosesRequest, defaults: TrackerConfig) -> float:
    """The lowest score of detector boxes that are used in a single picture."""
    if not request.HasField("box_score_threshold"):
        return defaults.box_score_threshold
    threshold = request.box_score_threshold
    if not 0 <= threshold <= 1:  # also true for NaN
        raise InvalidRequest(
            f"box_score_threshold is {threshold}; it must lie in 0..1, or be left out", field="box_score_threshold"
        )
    return threshold


def _tracker_from(
    message: settings_pb2.TrackerSettings, defaults: TrackerConfig, limits: LimitsConfig
) -> TrackerConfig:
    given: dict[str, object] = {
        field.name: getattr(message, field.name)
        for field in dataclasses.fields(TrackerConfig)  # the message has the same ones
        if field.name != "similarity" and message.HasField(field.name)  # type: ignore[arg-type]
    }
    similarity = message.similarity
    if similarity != settings_pb2.SIMILARITY_UNSPECIFIED:
        if similarity not in SIMILARITIES:
            known = ", ".join(f"{settings_pb2.Similarity.Name(known)} ({known})" for known in SIMILARITIES)
            raise InvalidRequest(
                f"similarity is {similarity}; use one of {known}, or leave it out", field="config.tracker.similarity"
            )
        given["similarity"] = SIMILARITIES[similarity]
    try:
        tracker = dataclasses.replace(defaults, **given)  # type: ignore[arg-type]
    except ValueError as error:
        # The message of `TrackerConfig` begins with the name of the setting.
        name = str(error).partition(" ")[0]
        known_name = name if hasattr(defaults, name) else ""
        raise InvalidRequest(str(error), field=f"config.tracker.{known_name}".rstrip(".")) from error
    if tracker.max_people > limits.max_people:
        raise InvalidRequest(
            f"max_people is {tracker.max_people}; this server estimates at most {limits.max_people} people a frame "
            "(limits.max_people): lower it",
            field="config.tracker.max_people",
        )
    return tracker


def _resume_from(message: settings_pb2.ResumeRequest, codec: Codec) -> ResumeRequest:
    if message.HasField("last_frame_codec"):
        codec = codec_from(message.last_frame_codec, "config.resume.last_frame_codec")
    return ResumeRequest(message.token, message.last_frame, codec)
