"""What can go wrong, as exceptions. `status` says how each looks to a client.

    ServiceError
    ├── InvalidRequest          a field is unusable: what, the range, the remedy
    ├── OutOfOrder              a message that must not come now
    ├── DetectorMissing         no boxes were given, and there is no detector
    ├── NotAuthenticated        no token, or one that is not known
    ├── NotPermitted            the token does not allow this
    ├── LimitReached            too many streams or pictures at once, or too many frames a second
    ├── Stalled                 the client does not read what it is sent
    ├── ServerDraining          the server is about to stop
    └── FrameError              one frame only; its stream goes on
        ├── Undecodable
        ├── PictureTooLarge
        ├── WrongSize
        ├── BadBoxes
        ├── BadNumber
        ├── BadElapsed
        └── InferenceFailed

Each message says what was wrong, the limit or range, and what to do.
"""

# ruff: noqa: N818  the names say what happened; that they are errors is clear where they are raised

from __future__ import annotations

__all__ = [
    "BadBoxes",
    "BadElapsed",
    "BadNumber",
    "DetectorMissing",
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
    "WrongSize",
]


class ServiceError(Exception):
    """Base of all errors that a client is told about.

    Args:
        message: what was wrong, the limit or range, and what to do; goes to the client as it is.
        field: the field of the request that is at fault, e.g. `config.tracker.queue_length`; empty if none is.
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.field = field


class InvalidRequest(ServiceError):
    """A field of a request is unusable."""


class OutOfOrder(ServiceError):
    """A message came when another one was due, as a frame before the configuration."""


class DetectorMissing(ServiceError):
    """The server has no person detector, and the caller gave no boxes."""


class NotAuthenticated(ServiceError):
    """The call came without a token, or with one that is not known."""


class NotPermitted(ServiceError):
    """The caller's token does not allow this."""


class LimitReached(ServiceError):
    """As many streams, pictures or frames a second are in work as the server, or the caller's token, allows."""


class Stalled(ServiceError):
    """The client has not read its responses for too long."""


class ServerDraining(ServiceError):
    """The server is about to stop and takes nothing new."""


class FrameError(ServiceError):
    """One frame or picture cannot be processed. In a stream, that frame fails and the next one is taken."""


class Undecodable(FrameError):
    """The bytes are not a picture of the codec, or are cut off or damaged."""


class PictureTooLarge(FrameError):
    """More bytes or pixels than the server accepts."""


class WrongSize(FrameError):
    """Raw bytes do not have the size that was announced."""


class BadBoxes(FrameError):
    """The boxes given by the caller are unusable."""


class BadNumber(FrameError):
    """The frame number did not increase."""


class BadElapsed(FrameError):
    """The time since the frame before is out of its range."""


class InferenceFailed(FrameError):
    """A network failed on this frame."""
