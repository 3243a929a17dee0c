"""The three stages of inference: each takes a batch and returns arrays.

Frames of one batch may differ in size. The result of one item does not depend on the others in its batch. Each stage
is called from one thread at a time.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from posewire.array_types import Float32s
from posewire_models.frames import Detections, FlowField, Frame

__all__ = ["Detector", "FlowEstimator", "PoseEstimator"]


class Detector(Protocol):
    """Finds people."""

    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """People of each frame, best first."""
        ...


class FlowEstimator(Protocol):
    """Estimates optical flow."""

    def __call__(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        """The field from the previous to the current frame of each pair (both of the same size)."""
        ...


class PoseEstimator(Protocol):
    """Finds the joints of people in given boxes."""

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[Float32s]) -> list[Float32s]:
        """Joints `(n, k, 3)`, x, y in frame pixels and score in 0..1, for the `(n, 4)` xyxy boxes of each frame."""
        ...
