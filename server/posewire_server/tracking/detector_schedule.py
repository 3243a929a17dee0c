"""On which frames of a stream the detector runs (`detect_every`)."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = ["DetectorSchedule"]


@dataclass(frozen=True)
class DetectorSchedule:
    """The detector runs on every n-th frame; in between, the flow carries people on.

    Attributes:
        every: n.
        frames: number of frames since its last run, including that one; None: it runs on the next frame.
        hastened: whether the next run is brought forward, to half the interval.
    """

    every: int
    frames: int | None = None
    hastened: bool = False

    @property
    def due(self) -> bool:
        """Whether it should run on the next frame."""
        return self.frames is None or self.frames >= (self.every - self.every // 2 if self.hastened else self.every)

    def after_frame(self, *, ran: bool) -> DetectorSchedule:
        """The schedule after a frame; `ran`: whether the detector ran on it."""
        if ran:
            return replace(self, frames=1, hastened=False)
        return self if self.frames is None else replace(self, frames=self.frames + 1)
