"""posewire: real-time, multi-person pose tracking over gRPC.

    import posewire

    with posewire.Client("127.0.0.1:50051") as client:
        for result in client.track("walk.mp4", similarity="multi-flow"):
            for person in result.people:
                print(result.frame, person.id, person.score, person.joints[:3])

The whole API is in this package. Each name is loaded when it is first used, so that importing costs next to nothing.
All exceptions are listed in `posewire.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posewire._async_client import AsyncClient
    from posewire._client import Client, TrackStream
    from posewire._streaming.stream import AsyncTrackStream
    from posewire._version import __version__
    from posewire.connection import Reconnected, ReconnectSettings, TlsSettings
    from posewire.errors import (
        AccessDenied,
        AccountingError,
        CallError,
        ConnectionFailed,
        ConnectionLost,
        FrameDropped,
        FrameFailed,
        FrameMissed,
        InvalidRequest,
        InvalidSettings,
        LimitExceeded,
        MisuseError,
        OutputError,
        PosewireError,
        ServerFailed,
        ServerRefused,
        SourceError,
        StreamBroken,
        StreamDrained,
        TimedOut,
        Violation,
    )
    from posewire.joints import COCO17, NANO19, POSETRACK15, JointSet
    from posewire.overlay import Trails, color_of, draw_people
    from posewire.results import (
        BoxesLike,
        BoxSource,
        FloatArray,
        FrameResult,
        FrameStatus,
        Image,
        ModelNames,
        Person,
        PoseEstimate,
        ServerInfo,
        ServerLimits,
        StreamInfo,
        StreamSummary,
    )
    from posewire.resume import ResumePoint
    from posewire.settings import Codec, DropPolicy, Similarity, StreamOptions, StreamSettings, TrackerSettings
    from posewire.sources import AsyncSourceLike, Source, SourceFrame, SourceLike, open_source
    from posewire.writers import CocoResultsWriter, JsonLinesWriter, PoseTrackWriter, ResultWriter, VideoWriter

__all__ = [
    "COCO17",
    "NANO19",
    "POSETRACK15",
    "AccessDenied",
    "AccountingError",
    "AsyncClient",
    "AsyncSourceLike",
    "AsyncTrackStream",
    "BoxSource",
    "BoxesLike",
    "CallError",
    "Client",
    "CocoResultsWriter",
    "Codec",
    "ConnectionFailed",
    "ConnectionLost",
    "DropPolicy",
    "FloatArray",
    "FrameDropped",
    "FrameFailed",
    "FrameMissed",
    "FrameResult",
    "FrameStatus",
    "Image",
    "InvalidRequest",
    "InvalidSettings",
    "JointSet",
    "JsonLinesWriter",
    "LimitExceeded",
    "MisuseError",
    "ModelNames",
    "OutputError",
    "Person",
    "PoseEstimate",
    "PoseTrackWriter",
    "PosewireError",
    "ReconnectSettings",
    "Reconnected",
    "ResultWriter",
    "ResumePoint",
    "ServerFailed",
    "ServerInfo",
    "ServerLimits",
    "ServerRefused",
    "Similarity",
    "Source",
    "SourceError",
    "SourceFrame",
    "SourceLike",
    "StreamBroken",
    "StreamDrained",
    "StreamInfo",
    "StreamOptions",
    "StreamSettings",
    "StreamSummary",
    "TimedOut",
    "TlsSettings",
    "TrackStream",
    "TrackerSettings",
    "Trails",
    "VideoWriter",
    "Violation",
    "__version__",
    "color_of",
    "draw_people",
    "open_source",
]

# Where each of them is loaded from; as type checkers see it, above.
_MODULES: dict[str, tuple[str, ...]] = {
    "posewire._async_client": ("AsyncClient",),
    "posewire._client": ("Client", "TrackStream"),
    "posewire._streaming.stream": ("AsyncTrackStream",),
    "posewire._version": ("__version__",),
    "posewire.connection": ("ReconnectSettings", "Reconnected", "TlsSettings"),
    "posewire.errors": (
        "AccessDenied",
        "AccountingError",
        "CallError",
        "ConnectionFailed",
        "ConnectionLost",
        "FrameDropped",
        "FrameFailed",
        "FrameMissed",
        "InvalidRequest",
        "InvalidSettings",
        "LimitExceeded",
        "MisuseError",
        "OutputError",
        "PosewireError",
        "ServerFailed",
        "ServerRefused",
        "SourceError",
        "StreamBroken",
        "StreamDrained",
        "TimedOut",
        "Violation",
    ),
    "posewire.joints": ("COCO17", "NANO19", "POSETRACK15", "JointSet"),
    "posewire.overlay": ("Trails", "color_of", "draw_people"),
    "posewire.resume": ("ResumePoint",),
    "posewire.results": (
        "BoxSource",
        "BoxesLike",
        "FloatArray",
        "FrameResult",
        "FrameStatus",
        "Image",
        "ModelNames",
        "Person",
        "PoseEstimate",
        "ServerInfo",
        "ServerLimits",
        "StreamInfo",
        "StreamSummary",
    ),
    "posewire.settings": ("Codec", "DropPolicy", "Similarity", "StreamOptions", "StreamSettings", "TrackerSettings"),
    "posewire.sources": ("AsyncSourceLike", "Source", "SourceFrame", "SourceLike", "open_source"),
    "posewire.writers": ("CocoResultsWriter", "JsonLinesWriter", "PoseTrackWriter", "ResultWriter", "VideoWriter"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'posewire' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value  # the next access is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
