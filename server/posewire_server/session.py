"""The state of one stream."""

from __future__ import annotations

from dataclasses import dataclass

from posewire_models.frames import Frame
from posewire_server.tracking import Tracker

__all__ = ["Session"]


@dataclass(eq=False)
class Session:
    """What the pipeline keeps from one frame of a stream to the next. It lives and dies with the stream's handler.

    Attributes:
        stream_id: identifies the stream in logs, and to the batchers, which are fair between streams.
        tracker: Q and the ids given out.
        previous: the frame to which the tracker's joints belong, for the next flow field.
        tracker_ms: how long the tracker took for the last frame.
    """

    stream_id: str
    tracker: Tracker
    previous: Frame | None = None
    tracker_ms: float = 0.0
