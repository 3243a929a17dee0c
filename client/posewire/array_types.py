"""Names for array types, so that a signature says what an array holds and in which precision."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
import numpy.typing as npt

__all__ = ["Float32s", "Float64s", "Image"]

Float32s: TypeAlias = npt.NDArray[np.float32]
Float64s: TypeAlias = npt.NDArray[np.float64]
Image: TypeAlias = npt.NDArray[np.uint8]
"""A picture: `(h, w, 3)` uint8, RGB."""
