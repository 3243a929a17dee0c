"""Resuming an interrupted stream."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ResumePoint"]


@dataclass(frozen=True)
class ResumePoint:
    """Where an interrupted stream can be resumed, on this server or on another one with the same key.

        async with client.track("walk.mp4", resume=drained.resume) as stream: ...

    Attributes:
        token: the server's signed snapshot of the tracker.
        last_frame: the last frame that was tracked, encoded, from which the flow starts; may be empty.
        last_frame_codec: how it is encoded.
    """

    token: bytes
    last_frame: bytes = b""
    last_frame_codec: Literal["jpeg", "png", "raw"] = "jpeg"
