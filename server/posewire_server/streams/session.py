"""The state of one stream."""

from __future__ import annotations

from dataclasses import dataclass, field

from posewire_models.frames import Frame
from posewire_server.streams.frame_clock import FrameClock
from posewire_server.tracking import Tracker

__all__ = ["Session"]


@dataclass(eq=False)
class Session:
    """What the pipeline keeps from one frame of a stream to the next. Owned by the stream's handler.

    Attributes:
        stream_id: identifies the stream in logs, and to the batchers, which are fair between streams.
        tracker: Q and the ids given out.
        clock: of its frames.
        previous: the frame that the tracker's joints belong to, for the next flow field.
        previous_s: its time on the stream's clock; None if unknown.
        size: (height, width) of it, known even if its pixels are not; None before the first frame.
        tracker_ms: how long the tracker took for the last frame.
    """

    stream_id: str
    tracker: Tracker
    clock: FrameClock = field(default_factory=lambda: FrameClock(may_drop=False))
    previous: Frame | None = None
    previous_s: float | None = None
    size: tuple[int, int] | None = None
    tracker_ms: float = 0.0

    def saw(self, frame: Frame, moment_s: float | None) -> None:
        """The tracker has processed this frame."""
        self.previous, self.previous_s, self.size = frame, moment_s, frame.size
