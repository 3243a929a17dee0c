"""Checks of what a caller passes, before anything is sent."""

from __future__ import annotations

import math
import numbers
import operator
from collections.abc import Sequence

import numpy as np

from posewire.errors import InvalidSettings
from posewire.joints import JointSet
from posewire.results import BoxesLike, FloatArray, Person

__all__ = ["boxes_array", "capture_time", "check_finite", "check_joints", "frame_number", "is_number", "is_whole"]

_LAST_NUMBER = 2**64 - 1
_TIMES_S = (-62_135_596_800, 253_402_300_799)
"""The range of a protobuf timestamp: the years 1 to 9999."""


def is_number(value: object) -> bool:
    """Whether it is a real number, Python's or numpy's."""
    return isinstance(value, numbers.Real)


def is_whole(value: object) -> bool:
    """Whether it is a whole number, Python's or numpy's."""
    return isinstance(value, numbers.Integral)


def frame_number(number: int) -> int:
    """Check the frame number that a caller passes.

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
    """Check the capture time that a caller passes.

    Raises:
        InvalidSettings: it is not a number of seconds that a timestamp can hold.
    """
    first, last = _TIMES_S
    if not is_number(time_s) or not first <= time_s <= last:
        raise InvalidSettings(
            f"the frame's time is {time_s!r}; give seconds in {first}..{last}, such as those since the start of the"
            " video, or Unix time"
        )
    return float(time_s)


def check_finite(people: Sequence[Person]) -> None:
    """Check that people can be written to a JSON file, which has no NaN and no infinity.

    Raises:
        InvalidSettings: a box, joint or score is not finite.
    """
    for person in people:
        if not (np.isfinite(person.box).all() and np.isfinite(person.joints).all() and math.isfinite(person.score)):
            raise InvalidSettings(
                f"person {person.id} has a box, joint or score that is not finite; give numbers, and score 0 to joints"
                " that are not seen"
            )


def check_joints(people: Sequence[Person], joint_set: JointSet) -> None:
    """Check that people have the joints of a set.

    Raises:
        InvalidSettings: somebody has another number of joints.
    """
    for person in people:
        if len(person.joints) != len(joint_set):
            raise InvalidSettings(
                f"person {person.id} has {len(person.joints)} joints, and {joint_set.name} has {len(joint_set)}; give "
                "the joint set of the results, such as stream.info.joint_set"
            )


def boxes_array(boxes: BoxesLike) -> FloatArray:
    """Check the boxes that a caller passes: `(n, 4)` left, top, right, bottom, or `(n, 5)` with a score.

    Raises:
        InvalidSettings: they are not numbers, or have another shape, values that are not finite, a box without extent,
            or a score outside 0..1.
    """
    try:
        with np.errstate(over="ignore"):  # values that are too large become infinite and are rejected below
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
        raise InvalidSettings("a box score is outside 0..1; give scores in this range, or leave them out")
    return array
