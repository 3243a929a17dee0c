"""All exceptions, as one tree. Every message says what was wrong and what to do about it.

    PosewireError
    ├── InvalidSettings             a setting is out of range; found before anything is sent (also a ValueError)
    ├── SourceError                 a file, folder, camera or address cannot be read, or breaks off
    ├── OutputError                 a result file cannot be written, or was given something it cannot hold
    ├── MisuseError                 a stream or client is closed, or used out of order, in another loop or after a fork
    ├── CallError                   a call to the server failed
    │   ├── ConnectionFailed        no server can be reached at the address
    │   ├── TimedOut                the server took longer than `timeout_s`
    │   ├── ServerFailed            the server failed; its log says why
    │   └── ServerRefused           the server refused the call: no detector, messages out of order ...
    │       ├── InvalidRequest      something in the request is wrong; `violations` names it
    │       ├── LimitExceeded       too large, too many, too fast; the message names the limit
    │       └── AccessDenied        credentials are missing or not sufficient
    ├── StreamBroken                a stream ended prematurely
    │   ├── ConnectionLost          the connection or the server failed, and no server was found to continue on
    │   ├── StreamDrained           the server stops, or a limit ends the stream; continue in another
    │   └── AccountingError         the server did not answer for every frame exactly once
    └── FrameMissed                 raised by `FrameResult.raise_for_status()` only
        ├── FrameFailed             the frame could not be processed
        └── FrameDropped            the frame was not processed although nothing was wrong with it

A frame that fails or is dropped does not end the stream: its result says so in `status`.
"""

# ruff: noqa: N818 -- the names say what happened, as in `except ConnectionFailed`; only the root is called an error.

from __future__ import annotations

from dataclasses import dataclass

from posewire.resume import ResumePoint

__all__ = [
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
]


class PosewireError(Exception):
    """The base class: `except posewire.PosewireError` catches everything that the SDK raises on purpose."""


class InvalidSettings(PosewireError, ValueError):
    """A setting or argument is out of range. Raised before anything is sent."""


class SourceError(PosewireError):
    """A source of frames cannot be opened, holds no pictures, or stopped."""


class OutputError(PosewireError):
    """A result file cannot be written."""


class MisuseError(PosewireError):
    """A client, stream or writer is used in a state in which it cannot work."""


@dataclass(frozen=True)
class Violation:
    """One thing that the server found wrong in a request.

    Attributes:
        field: which field, e.g. `config.tracker.queue_length`.
        description: what was wrong, the range, and what to do.
    """

    field: str
    description: str


class CallError(PosewireError):
    """A call to the server failed.

    Attributes:
        code: name of the gRPC status code, e.g. `UNAVAILABLE`; empty if the call never had one.
        reason: the server's reason for programs, e.g. `LIMIT_REACHED`; empty if it gave none.
        violations: what was wrong in the request, if the server says so.
    """

    def __init__(self, message: str, *, code: str = "", reason: str = "", violations: tuple[Violation, ...] = ()):
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.violations = violations


class ConnectionFailed(CallError):
    """No server can be reached at the address."""


class TimedOut(CallError):
    """The server did not answer within `timeout_s`."""


class ServerFailed(CallError):
    """The server failed while it worked on the call."""


class ServerRefused(CallError):
    """The server answered, and refused the call."""


class InvalidRequest(ServerRefused):
    """The server found something wrong in the request; see `violations`."""


class LimitExceeded(ServerRefused):
    """The request goes beyond one of the server's limits."""


class AccessDenied(ServerRefused):
    """The server requires other credentials."""


class StreamBroken(PosewireError):
    """A stream ended prematurely.

    Attributes:
        unanswered: numbers of the frames that were sent and never answered.
    """

    def __init__(self, message: str, *, unanswered: tuple[int, ...] = ()):
        super().__init__(message)
        self.unanswered = unanswered


class ConnectionLost(StreamBroken):
    """The connection or the server failed in mid-stream.

    Raised if reconnecting is switched off, or was given up.
    """


class StreamDrained(StreamBroken):
    """The server has finished with this stream: it stops, or the stream was open or idle for too long.

    Attributes:
        resume: lets another stream continue with the same ids; None if the server gave no token.
    """

    def __init__(self, message: str, *, unanswered: tuple[int, ...] = (), resume: ResumePoint | None = None):
        super().__init__(message, unanswered=unanswered)
        self.resume = resume


class AccountingError(StreamBroken):
    """The server's answers do not add up: sent = tracked + failed + dropped, each frame once."""


class FrameMissed(PosewireError):
    """There is no result for this frame."""


class FrameFailed(FrameMissed):
    """The frame could not be processed: unreadable, too large, bad boxes, or a network failed on it."""


class FrameDropped(FrameMissed):
    """The frame was dropped although nothing was wrong with it: `FrameResult.reason` says why."""
