"""How a decoded picture must be rotated or mirrored for display."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np

from posewire.results import Image

__all__ = ["UPRIGHT", "Orientation", "orientation_of", "shown_as"]


class Orientation(NamedTuple):
    """One of the eight orientations that a picture can have according to its metadata.

    Attributes:
        transposed: whether rows and columns are swapped first.
        mirrored: whether left and right are swapped then.
        flipped: whether top and bottom are swapped last.
    """

    transposed: bool
    mirrored: bool
    flipped: bool


UPRIGHT = Orientation(False, False, False)


def orientation_of(picture: Any) -> Orientation:
    """The orientation of a picture decoded by FFmpeg; other angles are rounded to multiples of 90 degrees."""
    a, b, c, d = _matrix(picture)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def shown_as(image: Image, orientation: Orientation) -> Image:
    """A picture `(h, w, 3)` rotated and mirrored for display."""
    turned: Any = cv2.transpose(image) if orientation.transposed else image
    if orientation.mirrored and orientation.flipped:
        turned = cv2.flip(turned, -1)
    elif orientation.mirrored:
        turned = cv2.flip(turned, 1)
    elif orientation.flipped:
        turned = cv2.flip(turned, 0)
    return np.asarray(turned, dtype=np.uint8)


def _matrix(picture: Any) -> tuple[float, float, float, float]:
    """a, b, c, d of the display matrix, up to a factor: a pixel at (x, y) is shown at (a x + c y, b x + d y)."""
    try:
        matrix = picture.side_data.get("DISPLAYMATRIX")
    except ValueError:  # PyAV fails on unknown side data; it still knows the rotation, not the mirroring
        angle = math.radians(picture.rotation)
        return math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5].tolist()
    return a, b, c, d
