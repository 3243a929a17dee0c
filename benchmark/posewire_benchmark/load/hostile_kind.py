"""Kinds of hostile clients. Cheap to import, since the command line lists them."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["HostileKind"]


class HostileKind(StrEnum):
    """What the hostile client does."""

    GARBAGE = "garbage"
    """Sends frames of noise, as fast as they are accepted."""
    FLOOD = "flood"
    """Sends valid frames, as fast as they are accepted."""
    STALL = "stall"
    """Opens several streams and never reads the answers; sends noise, so that the frames themselves cost little."""
    RECONNECT = "reconnect"
    """Opens and cancels a stream, again and again."""
