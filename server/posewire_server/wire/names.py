"""Enum values on the wire and their counterparts in the server."""

from __future__ import annotations

from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire_server.decoding.decoders import Codec
from posewire_server.streams.inbox import DropPolicy, DropReason
from posewire_server.tracking import Similarity

__all__ = ["CODECS", "DROP_POLICIES", "DROP_REASONS", "SIMILARITIES"]

CODECS: dict[pose_pb2.Codec.ValueType, Codec] = {
    pose_pb2.CODEC_JPEG: Codec.JPEG,
    pose_pb2.CODEC_PNG: Codec.PNG,
    pose_pb2.CODEC_RAW_RGB24: Codec.RAW_RGB24,
    pose_pb2.CODEC_RAW_BGR24: Codec.RAW_BGR24,
    pose_pb2.CODEC_H264: Codec.H264,
    pose_pb2.CODEC_H265: Codec.H265,
}

DROP_REASONS: dict[DropReason, track_pb2.DropReason.ValueType] = {
    DropReason.SUPERSEDED: track_pb2.DROP_REASON_SUPERSEDED,
    DropReason.TOO_OLD: track_pb2.DROP_REASON_TOO_OLD,
    DropReason.DRAINING: track_pb2.DROP_REASON_DRAINING,
    DropReason.OVER_RATE: track_pb2.DROP_REASON_OVER_RATE,
}

SIMILARITIES: dict[settings_pb2.Similarity.ValueType, Similarity] = {
    settings_pb2.SIMILARITY_BBOX: Similarity.BBOX,
    settings_pb2.SIMILARITY_POSE: Similarity.POSE,
    settings_pb2.SIMILARITY_FLOW: Similarity.FLOW,
    settings_pb2.SIMILARITY_MULTI_FLOW: Similarity.MULTI_FLOW,
}

DROP_POLICIES: dict[settings_pb2.DropPolicy.ValueType, DropPolicy] = {
    settings_pb2.DROP_POLICY_LATEST: DropPolicy.LATEST,
    settings_pb2.DROP_POLICY_ALL: DropPolicy.ALL,
}
