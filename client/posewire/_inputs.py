"""What a caller gives with a frame, checked before it goes onto the wire."""

from __future__ import annotations

import numbers
import operator

import numpy as np

from posewire.errors import InvalidSettings
from posewire.results import BoxesLike, FloatArray

__all__ = ["boxes_array", "capture_time", "frame_number"]

_LAST_NUMBER = 2**64 - 1
_TIMES_S = (-62_135_596_800, 253_402_300_799)
"""What a protobuf timestamp may hold: the years 1 to 9999."""


def frame_number(number: int) -> int:
    """Check the number that a caller gives a frame.

    Raises:
        InvalidSettings: it is not a whole number in 0..2^64-1.
    """
    try:
        checked = operator.index(number)
    except TypeError:
        checked = -1
    if not 0 <= checked <= _LAST_NUMBER:
        raise InvalidSettings(
            f"the frame's number is {number!r}; give a whole number in 0..{_LAST_NUMBER}, or None for the next one"
        )
    return checked


def capture_time(time_s: float) -> float:
    """Check the time that a caller gives a frame.

    Raises:
        InvalidSettings: it is not a number of seconds that a timestamp can hold.
    """
    first, last = _TIMES_S
    if not isinstance(time_s, numbers.Real) or not first <= time_s <= last:
        raise InvalidSettings(
            f"the frame's time is {time_s!r}; give seconds in {first}..{last}, such as those since the start of the"
            " video, or Unix time"
        )
    return float(time_s)


def boxes_array(boxes: BoxesLike) -> FloatArray:
    """Check boxes that a caller gives: `(n, 4)` left, top, right, bottom, or `(n, 5)` with a score.

    Raises:
        InvalidSettings: no numbers, another shape, values that are not finite, a box without extent, or a score outside
            0..1.
    """
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite, and is refused as that
            array = np.asarray(boxes, dtype=np.float32)
    except (ValueError, TypeError, OverflowError) as error:
        raise InvalidSettings(
            f"boxes are no array of numbers ({error}); give rows of equal length: left, top, right, bottom,"
            " or these and a score"
        ) from error
    if array.size == 0:
        return np.zeros((0, 4), dtype=np.float32)
    if array.ndim != 2 or array.shape[1] not in (4, 5):
        raise InvalidSettings(
            f"boxes have the shape {array.shape}; give (n, 4): left, top, right, bottom, or (n, 5) with a score"
        )
    if not np.isfinite(array).all():
        raise InvalidSettings(f"box {int(np.argmin(np.isfinite(array).all(axis=1)))} is not finite: give pixels")
    flat = (array[:, 2] <= array[:, 0]) | (array[:, 3] <= array[:, 1])
    if flat.any():
        worst = int(np.argmax(flat))
        raise InvalidSettings(
            f"box {worst} is {array[worst, :4].tolist()}, which has no extent; give left, top, right, bottom"
        )
    if array.shape[1] == 5 and not ((array[:, 4] >= 0) & (array[:, 4] <= 1)).all():
        raise InvalidSettings("a box score is outside 0..1; give scores between, or leave them out")
    return array
