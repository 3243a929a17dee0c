"""No detector at all: for callers who supply the boxes themselves."""

from __future__ import annotations

from collections.abc import Sequence

from posewire_models.frames import Detections, Frame

__all__ = ["NoDetector"]


class NoDetector:
    """A `Detector` that never finds anyone."""

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """No detections for each frame."""
        return [Detections.none() for _ in frames]
