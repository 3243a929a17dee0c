"""posewire: real-time, multi-person pose tracking over gRPC.

    import posewire

    with posewire.Client("127.0.0.1:50051") as client:
        for result in client.track("walk.mp4", similarity="multi-flow"):
            for person in result.people:
                print(result.frame, person.id, person.score, person.joints[:3])

Everything that a program needs is a name of this package; it is loaded when it is first used, so that importing costs
next to nothing. Errors are a tree of their own, see `posewire.errors`.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posewire._async_client import AsyncClient as AsyncClient
    from posewire._client import Client as Client
    from posewire._client import TrackStream as TrackStream
    from posewire._stream import AsyncTrackStream as AsyncTrackStream
    from posewire._version import __version__ as __version__
    from posewire.connection import Reconnected as Reconnected
    from posewire.connection import ReconnectSettings as ReconnectSettings
    from posewire.connection import TlsSettings as TlsSettings
    from posewire.errors import AccessDenied as AccessDenied
    from posewire.errors import AccountingError as AccountingError
    from posewire.errors import CallError as CallError
    from posewire.errors import ConnectionFailed as ConnectionFailed
    from posewire.errors import ConnectionLost as ConnectionLost
    from posewire.errors import FrameDropped as FrameDropped
    from posewire.errors import FrameFailed as FrameFailed
    from posewire.errors import FrameMissed as FrameMissed
    from posewire.errors import InvalidRequest as InvalidRequest
    from posewire.errors import InvalidSettings as InvalidSettings
    from posewire.errors import LimitExceeded as LimitExceeded
    from posewire.errors import MisuseError as MisuseError
    from posewire.errors import OutputError as OutputError
    from posewire.errors import PosewireError as PosewireError
    from posewire.errors import ServerFailed as ServerFailed
    from posewire.errors import ServerRefused as ServerRefused
    from posewire.errors import SourceError as SourceError
    from posewire.errors import StreamBroken as StreamBroken
    from posewire.errors import StreamDrained as StreamDrained
    from posewire.errors import TimedOut as TimedOut
    from posewire.joints import COCO17 as COCO17
    from posewire.joints import NANO19 as NANO19
    from posewire.joints import POSETRACK15 as POSETRACK15
    from posewire.joints import JointSet as JointSet
    from posewire.overlay import Trails as Trails
    from posewire.overlay import color_of as color_of
    from posewire.overlay import draw_people as draw_people
    from posewire.results import FrameResult as FrameResult
    from posewire.results import FrameStatus as FrameStatus
    from posewire.results import ModelNames as ModelNames
    from posewire.results import Person as Person
    from posewire.results import PoseEstimate as PoseEstimate
    from posewire.results import ServerInfo as ServerInfo
    from posewire.results import ServerLimits as ServerLimits
    from posewire.results import StreamInfo as StreamInfo
    from posewire.results import StreamSummary as StreamSummary
    from posewire.resume import ResumePoint as ResumePoint
    from posewire.settings import StreamSettings as StreamSettings
    from posewire.settings import TrackerSettings as TrackerSettings
    from posewire.sources import Source as Source
    from posewire.sources import SourceFrame as SourceFrame
    from posewire.sources import open_source as open_source
    from posewire.writers import CocoResultsWriter as CocoResultsWriter
    from posewire.writers import JsonLinesWriter as JsonLinesWriter
    from posewire.writers import PoseTrackWriter as PoseTrackWriter
    from posewire.writers import VideoWriter as VideoWriter

_MODULES: dict[str, tuple[str, ...]] = {
    "posewire._async_client": ("AsyncClient",),
    "posewire._client": ("Client", "TrackStream"),
    "posewire._stream": ("AsyncTrackStream",),
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
    ),
    "posewire.joints": ("COCO17", "NANO19", "POSETRACK15", "JointSet"),
    "posewire.overlay": ("Trails", "color_of", "draw_people"),
    "posewire.resume": ("ResumePoint",),
    "posewire.results": (
        "FrameResult",
        "FrameStatus",
        "ModelNames",
        "Person",
        "PoseEstimate",
        "ServerInfo",
        "ServerLimits",
        "StreamInfo",
        "StreamSummary",
    ),
    "posewire.settings": ("StreamSettings", "TrackerSettings"),
    "posewire.sources": ("Source", "SourceFrame", "open_source"),
    "posewire.writers": ("CocoResultsWriter", "JsonLinesWriter", "PoseTrackWriter", "VideoWriter"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}

__all__ = sorted(_MODULE_OF)


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'posewire' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_MODULE_OF[name]), name)
    globals()[name] = value  # the next access is an ordinary one
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
