"""What a hostile client may do. Importing this costs nothing: the command line names the kinds."""

from __future__ import annotations

from enum import StrEnum

__all__ = ["HostileKind"]


class HostileKind(StrEnum):
    """What it does."""

    GARBAGE = "garbage"
    """Frames of noise, as fast as they are taken."""
    FLOOD = "flood"
    """Good frames, as fast as they are taken."""
    STALL = "stall"
    """Several streams whose answers are never read; they send noise, so that it is not their frames that cost."""
    RECONNECT = "reconnect"
    """Opens a stream and breaks it off, again and again."""
