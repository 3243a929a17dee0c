"""The tracker's interface to optical flow: where did this point go?"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

__all__ = ["FlowField"]


class FlowField(Protocol):
    """The flow F_{k-1->k}. A protocol, so that the field can stay on the GPU and be sampled there."""

    def at(self, points: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Displacements `(m, 2)` in pixels of the points `(m, 2)`, x and y in pixels of the previous frame."""
        ...
