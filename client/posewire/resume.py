"""Taking an interrupted stream up again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["ResumePoint"]


@dataclass(frozen=True)
class ResumePoint:
    """Where an interrupted stream can be taken up again, on this server or on another one with the same key.

        async with client.track("walk.mp4", resume=drained.resume) as stream: ...

    Attributes:
        token: the server's signed snapshot of the tracker.
        last_frame: the last frame that was tracked, encoded, so that the flow has a start; may be empty.
        last_frame_codec: how it is encoded.
    """

    token: bytes
    last_frame: bytes = b""
    last_frame_codec: Literal["jpeg", "png", "raw"] = "jpeg"
