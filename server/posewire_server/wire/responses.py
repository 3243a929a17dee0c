"""From the server's types to response messages."""

from __future__ import annotations

import dataclasses
import functools

from google.protobuf import duration_pb2

from posewire.joints import JointSet
from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2
from posewire_server.config import LimitsConfig
from posewire_server.inference.networks import ModelNames
from posewire_server.inference.outcomes import StageTimes
from posewire_server.streams.progress import Progress
from posewire_server.tracking import TrackedPeople, TrackerConfig
from posewire_server.wire.names import CODECS, DROP_POLICIES, SIMILARITIES
from posewire_server.wire.requests import StreamSettings

__all__ = [
    "joint_set_message",
    "limits_message",
    "models_message",
    "people_messages",
    "settings_message",
    "stream_state_message",
    "timings_message",
    "tracker_message",
]

_CODEC_NUMBERS = {codec: number for number, codec in CODECS.items()}
_SIMILARITY_NUMBERS = {similarity: number for number, similarity in SIMILARITIES.items()}
_DROP_POLICY_NUMBERS = {policy: number for number, policy in DROP_POLICIES.items()}


def settings_message(settings: StreamSettings) -> settings_pb2.StreamConfig:
    """The configuration with the final values, without the resume request."""
    message = settings_pb2.StreamConfig(
        codec=_CODEC_NUMBERS[settings.codec],
        tracker=tracker_message(settings.tracker),
        drop_policy=_DROP_POLICY_NUMBERS[settings.drop_policy],
        max_age_ms=settings.max_age_ms,
        joint_set=settings.joint_set.name,
        name=settings.name,
        max_detect_every=settings.max_detect_every,
    )
    if settings.raw_size is not None:
        message.raw_size.width, message.raw_size.height = settings.raw_size
    return message


def tracker_message(tracker: TrackerConfig) -> settings_pb2.TrackerSettings:
    """All settings of a tracker."""
    values = {
        field.name: getattr(tracker, field.name)
        for field in dataclasses.fields(TrackerConfig)
        if field.name != "similarity"
    }
    return settings_pb2.TrackerSettings(similarity=_SIMILARITY_NUMBERS[tracker.similarity], **values)


def joint_set_message(joints: JointSet) -> pose_pb2.JointSet:
    """Names and skeleton."""
    edges = [pose_pb2.JointSet.Edge(**{"from": start, "to": end}) for start, end in joints.edges]
    return pose_pb2.JointSet(name=joints.name, names=joints.names, edges=edges)


def people_messages(people: TrackedPeople, own: JointSet, wanted: JointSet) -> list[pose_pb2.Person]:
    """The people of a frame, their joints converted from the network's own set to the wanted one."""
    joints = people.joints if wanted.name == own.name else own.convert(people.joints, wanted)
    xyxy, sizes = people.boxes.xyxy, people.boxes.xyxy[:, 2:] - people.boxes.xyxy[:, :2]
    messages = [
        pose_pb2.Person(
            id=identity,
            score=score,
            box=pose_pb2.Box(x=x, y=y, width=width, height=height, score=box_score),
            box_source=source,
        )
        for identity, score, (x, y, _, _), (width, height), box_score, source in zip(
            people.ids.tolist(),
            people.scores.tolist(),
            xyxy.tolist(),
            sizes.tolist(),
            people.boxes.scores.tolist(),
            people.boxes.sources.tolist(),
            strict=True,
        )
    ]
    head = _head_of_joints(3 * len(wanted))
    for message, pose in zip(messages, joints.astype("<f4", copy=False), strict=True):
        message.MergeFromString(head + pose.tobytes())
    return messages


@functools.cache
def _head_of_joints(numbers: int) -> bytes:
    """The bytes on the wire before the values of `Person.joints`, which follow as they are in memory.

    Assigning them to a message as a list would create an object for each, which takes ten times as long.
    """
    return pose_pb2.Person(joints=[0.0] * numbers).SerializeToString()[: -4 * numbers]


def timings_message(times: StageTimes, *, queue_ms: float, decode_ms: float, total_ms: float) -> pose_pb2.Timings:
    """How long each stage ran; waiting times between stages are included in the total only."""
    return pose_pb2.Timings(
        queue_ms=queue_ms,
        decode_ms=decode_ms,
        detect_ms=times.detect_ms,
        flow_ms=times.flow_ms,
        pose_ms=times.pose_ms,
        track_ms=times.track_ms,
        total_ms=total_ms,
    )


def stream_state_message(progress: Progress) -> pose_tracking_service_pb2.StreamState:
    """The state and statistics of an open stream."""
    session, settings, accounts, pace = progress.session, progress.settings, progress.accounts, progress.pace()
    open_for = duration_pb2.Duration()
    open_for.FromNanoseconds(int(progress.open_for_s * 1e9))
    message = pose_tracking_service_pb2.StreamState(
        stream_id=session.stream_id,
        name=settings.name,
        caller=progress.caller,
        codec=_CODEC_NUMBERS[settings.codec],
        drop_policy=_DROP_POLICY_NUMBERS[settings.drop_policy],
        open_for=open_for,
        received=accounts.received,
        tracked=accounts.tracked,
        failed=accounts.failed,
        dropped=accounts.dropped,
        identities=session.tracker.identities,
        people=progress.people,
        detect_every=session.tracker.detect_every,
        tracked_fps=pace.fps,
        latency_ms=pace.latency_ms,
        latency_p95_ms=pace.latency_p95_ms,
    )
    if progress.size is not None:
        message.size.height, message.size.width = progress.size
    return message


def models_message(names: ModelNames) -> track_pb2.ServerModels:
    """Names of the networks."""
    return track_pb2.ServerModels(**dataclasses.asdict(names))


def limits_message(limits: LimitsConfig) -> pose_tracking_service_pb2.ServerLimits:
    """What the server accepts."""
    return pose_tracking_service_pb2.ServerLimits(
        max_frame_bytes=limits.max_frame_bytes,
        max_frame_pixels=limits.max_frame_pixels,
        max_streams=limits.max_streams,
        max_people=limits.max_people,
        max_pictures=limits.max_pictures,
    )
