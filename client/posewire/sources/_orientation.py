"""How a decoded picture is to be turned or mirrored before it is shown."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import cv2
import numpy as np

from posewire.results import Image

__all__ = ["UPRIGHT", "Orientation", "orientation_of", "shown_as"]


class Orientation(NamedTuple):
    """One of the eight ways in which a picture can lie, as its metadata says.

    Attributes:
        transposed: rows and columns are exchanged first.
        mirrored: then left and right.
        flipped: then top and bottom.
    """

    transposed: bool
    mirrored: bool
    flipped: bool


UPRIGHT = Orientation(False, False, False)


def orientation_of(picture: Any) -> Orientation:
    """The orientation of a decoded picture of FFmpeg; other angles than right ones are taken for the next of these."""
    a, b, c, d = _matrix(picture)
    if abs(a) + abs(d) >= abs(b) + abs(c):
        return Orientation(False, a < 0, d < 0)
    return Orientation(True, c < 0, b < 0)


def shown_as(image: Image, orientation: Orientation) -> Image:
    """A picture `(h, w, 3)` as it is shown: turned and mirrored."""
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
    except ValueError:  # PyAV gives none beside some that it does not know; the rotation it gives, without mirroring
        angle = math.radians(picture.rotation)
        return math.cos(angle), -math.sin(angle), math.sin(angle), math.cos(angle)
    if matrix is None:
        return 1, 0, 0, 1
    a, b, _, c, d = np.frombuffer(matrix, dtype=np.int32)[:5].tolist()
    return a, b, c, d
