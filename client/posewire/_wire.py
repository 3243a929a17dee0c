"""The boundary to protobuf: free functions that convert between messages and the dataclasses of the SDK.

Nothing else in the SDK reads a message, except for the `oneof` case of a response.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import fields, replace
from typing import Any

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp

from posewire.errors import InvalidSettings
from posewire.joints import JOINT_SETS, NANO19, JointSet
from posewire.results import (
    BoxSource,
    FloatArray,
    ModelNames,
    Person,
    PoseEstimate,
    ServerInfo,
    ServerLimits,
    StreamInfo,
)
from posewire.resume import ResumePoint
from posewire.settings import PICTURE_CODECS, Codec, DropPolicy, Similarity, StreamSettings, TrackerSettings
from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2

__all__ = [
    "CODECS",
    "drop_reason",
    "estimate_request",
    "failure_reason",
    "frame_request",
    "joint_set_from",
    "open_request",
    "people_from",
    "pose_estimate_from",
    "server_info_from",
    "stream_info_from",
    "timings_from",
]

CODECS: dict[Codec, pose_pb2.Codec.ValueType] = {
    "jpeg": pose_pb2.CODEC_JPEG,
    "png": pose_pb2.CODEC_PNG,
    "raw": pose_pb2.CODEC_RAW_RGB24,
    "h264": pose_pb2.CODEC_H264,
    "h265": pose_pb2.CODEC_H265,
}
_CODEC_NAMES = {number: name for name, number in CODECS.items()}

_SIMILARITIES: dict[Similarity, settings_pb2.Similarity.ValueType] = {
    "bbox": settings_pb2.SIMILARITY_BBOX,
    "pose": settings_pb2.SIMILARITY_POSE,
    "flow": settings_pb2.SIMILARITY_FLOW,
    "multi-flow": settings_pb2.SIMILARITY_MULTI_FLOW,
}
_SIMILARITY_NAMES = {number: name for name, number in _SIMILARITIES.items()}

_DROP_POLICIES: dict[DropPolicy, settings_pb2.DropPolicy.ValueType] = {
    "latest": settings_pb2.DROP_POLICY_LATEST,
    "all": settings_pb2.DROP_POLICY_ALL,
}
_DROP_POLICY_NAMES = {number: name for name, number in _DROP_POLICIES.items()}

_BOX_SOURCES: dict[int, BoxSource] = {
    pose_pb2.BOX_SOURCE_DETECTOR: "detector",
    pose_pb2.BOX_SOURCE_FLOW: "flow",
    pose_pb2.BOX_SOURCE_CALLER: "caller",
}

# The tracker's settings that have the same names and values in a message.
_TRACKER_NUMBERS = tuple(field.name for field in fields(TrackerSettings) if field.name != "similarity")

_STAGES = ("queue", "decode", "detect", "flow", "pose", "track", "total")

# Joints that this version does not know have no OKS constants here; the hip's is the largest and so the most lenient.
_SIGMAS = dict(zip(NANO19.names, NANO19.sigmas, strict=True))
_UNKNOWN_SIGMA = max(NANO19.sigmas)


def open_request(settings: StreamSettings, resume: ResumePoint | None = None) -> track_pb2.TrackRequest:
    """The first request of a stream. `settings.codec` is final here: no `passthrough`."""
    config = settings_pb2.StreamConfig(
        codec=CODECS[settings.codec],
        tracker=_tracker_message(settings.tracker),
        joint_set=settings.joint_set or "",
        name=settings.name,
    )
    if settings.raw_size is not None:
        config.raw_size.width, config.raw_size.height = settings.raw_size
    if settings.drop_policy is not None:
        config.drop_policy = _DROP_POLICIES[settings.drop_policy]
    if settings.max_age_ms is not None:
        config.max_age_ms = settings.max_age_ms
    if settings.max_detect_every is not None:
        config.max_detect_every = settings.max_detect_every
    if resume is not None:
        config.resume.token = resume.token
        if resume.last_frame:
            config.resume.last_frame = resume.last_frame
            config.resume.last_frame_codec = CODECS[resume.last_frame_codec]
    return track_pb2.TrackRequest(config=config)


def frame_request(number: int, time_s: float | None, data: bytes, boxes: FloatArray | None) -> track_pb2.TrackRequest:
    """The request for one frame.

    Args:
        number: the frame number.
        time_s: the capture time; None: not known.
        data: the frame, in the stream's codec.
        boxes: as returned by `_inputs.boxes_array`; None: the detector runs.
    """
    request = track_pb2.TrackRequest()
    # Filled in place: a message passed to the constructor of another would be copied, including the pixels.
    frame = request.frame
    frame.number = number
    if time_s is not None:
        frame.capture_time.CopyFrom(_timestamp(time_s))
    frame.data = data
    if boxes is not None:
        frame.boxes.CopyFrom(_box_list(boxes))
    return request


def estimate_request(
    data: bytes,
    codec: Codec,
    *,
    raw_size: tuple[int, int] | None,
    boxes: FloatArray | None,
    joint_set: str | None,
    box_score_threshold: float | None,
) -> pose_tracking_service_pb2.EstimatePosesRequest:
    """The request for one picture.

    Raises:
        InvalidSettings: single pictures cannot be sent as `codec`.
    """
    if codec not in PICTURE_CODECS:
        raise InvalidSettings(f"codec is {codec!r}; a single picture is sent as 'jpeg', 'png' or 'raw'")
    request = pose_tracking_service_pb2.EstimatePosesRequest(
        codec=CODECS[codec], data=data, joint_set=joint_set or "", box_score_threshold=box_score_threshold
    )
    if raw_size is not None:
        request.raw_size.width, request.raw_size.height = raw_size
    if boxes is not None:
        request.boxes.CopyFrom(_box_list(boxes))
    return request


def stream_info_from(started: track_pb2.StreamStarted, asked: StreamSettings) -> StreamInfo:
    """What the server decided on; settings that are never sent are taken from `asked`."""
    config = started.config
    settings = StreamSettings(
        codec=_CODEC_NAMES.get(config.codec, asked.codec),
        jpeg_quality=asked.jpeg_quality,
        tracker=_tracker_from(config.tracker),
        drop_policy=_DROP_POLICY_NAMES.get(config.drop_policy, asked.drop_policy),
        max_age_ms=config.max_age_ms if config.HasField("max_age_ms") else None,
        joint_set=config.joint_set or None,
        name=config.name,
        max_detect_every=config.max_detect_every if config.HasField("max_detect_every") else None,
        raw_size=(config.raw_size.width, config.raw_size.height) if config.HasField("raw_size") else None,
        max_in_flight=asked.max_in_flight,
    )
    return StreamInfo(
        stream_id=started.stream_id,
        joint_set=joint_set_from(started.joint_set),
        settings=settings,
        models=_models_from(started.models),
        resumed=started.resume.resumed,
        resume_refusal=started.resume.refusal,
    )


def people_from(messages: Iterable[pose_pb2.Person]) -> tuple[Person, ...]:
    """People with their boxes `(4,)` x, y, w, h and joints `(k, 3)`."""
    return tuple(
        Person(
            id=message.id,
            score=message.score,
            box=np.array((message.box.x, message.box.y, message.box.width, message.box.height), dtype=np.float32),
            joints=np.array(message.joints, dtype=np.float32).reshape(-1, 3),
            source=_BOX_SOURCES.get(message.box_source, "unknown"),
        )
        for message in messages
    )


def timings_from(message: pose_pb2.Timings) -> dict[str, float]:
    """Milliseconds by stage name."""
    return {stage: getattr(message, f"{stage}_ms") for stage in _STAGES}


def pose_estimate_from(message: pose_tracking_service_pb2.EstimatePosesResponse) -> PoseEstimate:
    """The answer for one picture."""
    return PoseEstimate(
        people=people_from(message.people),
        joint_set=joint_set_from(message.joint_set),
        size=(message.size.width, message.size.height),
        timings_ms=timings_from(message.timings),
    )


def server_info_from(message: pose_tracking_service_pb2.GetServerInfoResponse) -> ServerInfo:
    """Version, models, limits and device."""
    limits = message.limits
    return ServerInfo(
        version=message.version,
        device=message.device,
        models=_models_from(message.models),
        joint_set=joint_set_from(message.joint_set),
        joint_sets=tuple(message.joint_sets),
        codecs=tuple(_CODEC_NAMES.get(codec) or _name(pose_pb2.Codec, codec, "CODEC_") for codec in message.codecs),
        limits=ServerLimits(
            max_frame_bytes=limits.max_frame_bytes,
            max_frame_pixels=limits.max_frame_pixels,
            max_streams=limits.max_streams,
            max_people=limits.max_people,
            max_pictures=limits.max_pictures or None,
        ),
        tracker_defaults=_tracker_from(message.tracker_defaults),
        active_streams=message.active_streams,
        has_detector=message.has_detector,
    )


def joint_set_from(message: pose_pb2.JointSet) -> JointSet:
    """The known joint set of this name if its joints are the same, else one made from the message."""
    names = tuple(message.names)
    known = JOINT_SETS.get(message.name)
    if known is not None and known.names == names:
        return known
    edges = tuple((getattr(edge, "from"), edge.to) for edge in message.edges)
    return JointSet(message.name, names, edges, tuple(_SIGMAS.get(name, _UNKNOWN_SIGMA) for name in names))


def failure_reason(reason: track_pb2.FailureReason.ValueType) -> str:
    """E.g. `undecodable`."""
    return _name(track_pb2.FailureReason, reason, "FAILURE_REASON_")


def drop_reason(reason: track_pb2.DropReason.ValueType) -> str:
    """E.g. `superseded`."""
    return _name(track_pb2.DropReason, reason, "DROP_REASON_")


def _name(enum: Any, value: int, prefix: str) -> str:
    """The SDK's name for a value; unknown values of a newer server become e.g. `reason-7` or `codec-7`."""
    if value not in enum.values():
        return f"{prefix.split('_')[-2].lower()}-{value}"
    name: str = enum.Name(value)
    return name.removeprefix(prefix).lower().replace("_", "-")


def _tracker_message(settings: TrackerSettings) -> settings_pb2.TrackerSettings:
    message = settings_pb2.TrackerSettings(**{name: getattr(settings, name) for name in _TRACKER_NUMBERS})
    if settings.similarity is not None:
        message.similarity = _SIMILARITIES[settings.similarity]
    return message


def _tracker_from(message: settings_pb2.TrackerSettings) -> TrackerSettings:
    values = {name: getattr(message, name) for name in _TRACKER_NUMBERS if message.HasField(name)}  # type: ignore[arg-type]
    # Float fields have 32 bits on the wire: 0.4 would be read as 0.4000000059604645.
    values = {name: float(str(np.float32(v))) if isinstance(v, float) else v for name, v in values.items()}
    settings = TrackerSettings(similarity=_SIMILARITY_NAMES.get(message.similarity))
    for name, value in values.items():
        with suppress(InvalidSettings):  # of a newer server, invalid in this version: None, like missing ones
            settings = replace(settings, **{name: value})
    return settings


def _models_from(message: track_pb2.ServerModels) -> ModelNames:
    return ModelNames(
        bundle=message.bundle,
        detector=message.detector,
        flow=message.flow,
        pose=message.pose,
        bundle_version=message.bundle_version,
        flip_test=message.flip_test,
    )


def _box_list(boxes: FloatArray) -> pose_pb2.BoxList:
    message = pose_pb2.BoxList()
    for left, top, right, bottom, *score in boxes.tolist():
        box = message.boxes.add(x=left, y=top, width=right - left, height=bottom - top)
        if score:
            box.score = score[0]
    return message


def _timestamp(time_s: float) -> Timestamp:
    seconds = math.floor(time_s)
    return Timestamp(seconds=seconds, nanos=min(int((time_s - seconds) * 1e9), 999_999_999))
