"""The exceptions. `wire/status.py` maps each to a gRPC status.

    ServiceError
    ├── InvalidRequest          a field is invalid
    ├── OutOfOrder              a message is not allowed at this point
    ├── UnknownCall             there is no method of this name
    ├── DetectorMissing         no boxes were given, and there is no detector
    ├── NotAuthenticated        the token is missing or unknown
    ├── NotPermitted            the token does not allow this
    ├── LimitReached            too many streams or pictures at once, or too many frames per second
    ├── Stalled                 the client does not read its responses
    ├── ServerDraining          the server is about to stop
    └── FrameError              concerns one frame only; its stream continues
        ├── Undecodable
        ├── PictureTooLarge
        ├── WrongSize
        ├── BadBoxes
        ├── BadNumber
        ├── BadElapsed
        └── InferenceFailed

Each message says what was wrong, the limit or range, and what to do. `DeviceLost` is none of them: it ends the server.
"""

# ruff: noqa: N818  the names say what happened

from __future__ import annotations

__all__ = [
    "BadBoxes",
    "BadElapsed",
    "BadNumber",
    "DetectorMissing",
    "DeviceLost",
    "FrameError",
    "InferenceFailed",
    "InvalidRequest",
    "LimitReached",
    "NotAuthenticated",
    "NotPermitted",
    "OutOfOrder",
    "PictureTooLarge",
    "ServerDraining",
    "ServiceError",
    "Stalled",
    "Undecodable",
    "UnknownCall",
    "WrongSize",
]


class DeviceLost(Exception):
    """The GPU has failed for good; only another process may find it working."""


class ServiceError(Exception):
    """Base of all errors that are reported to the client.

    Args:
        message: what was wrong, the limit or range, and what to do; sent to the client unchanged.
        field: the field of the request at fault, e.g. `config.tracker.queue_length`; empty if none is.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidRequest(ServiceError):
    """A field of a request is invalid."""


class OutOfOrder(ServiceError):
    """A message came when another one was expected, for example a frame before the configuration."""


class UnknownCall(ServiceError):
    """The server has no method of this name."""


class DetectorMissing(ServiceError):
    """The server has no person detector, and the caller gave no boxes."""


class NotAuthenticated(ServiceError):
    """The call has no token or an unknown one."""


class NotPermitted(ServiceError):
    """The caller's token does not allow this."""


class LimitReached(ServiceError):
    """The server, or the caller's token, allows no more streams, pictures or frames per second."""


class Stalled(ServiceError):
    """The client has not read its responses for too long."""


class ServerDraining(ServiceError):
    """The server is about to stop and accepts nothing new."""


class FrameError(ServiceError):
    """One frame or picture cannot be processed. In a stream, only that frame fails."""


class Undecodable(FrameError):
    """The data does not match the codec, or is truncated or damaged."""


class PictureTooLarge(FrameError):
    """More bytes or pixels than the server accepts."""


class WrongSize(FrameError):
    """A raw frame does not have the announced size."""


class BadBoxes(FrameError):
    """The caller's boxes are invalid."""


class BadNumber(FrameError):
    """The frame number did not increase."""


class BadElapsed(FrameError):
    """The time since the previous frame is out of range."""


class InferenceFailed(FrameError):
    """A network failed on this frame."""
