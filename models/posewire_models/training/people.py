"""The result of all label readers: pictures with people in them, independent of the data set's format."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path

import numpy as np

from posewire.array_types import Float32s
from posewire.joints import AREA_OF_BOX, JointSet

__all__ = ["Person", "Picture", "by_name", "in_sight", "likely_area", "spread"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Person:
    """One labelled person.

    Attributes:
        box: `(4,)` x1, y1, x2, y2 in pixels of the picture.
        joints: `(k, 3)` x, y, weight: confidence in the label, 0 (absent) to 1.
        area: of the person in square pixels, the scale of OKS.
    """

    box: Float32s
    joints: Float32s
    area: float

    @property
    def labelled(self) -> int:
        """Number of joints that have a label."""
        return int((self.joints[:, 2] > 0).sum())


@dataclass(frozen=True)
class Picture:
    """A picture file and the people in it.

    Attributes:
        path: the file.
        key: its number in the data set, which splits are based on.
        people: those labelled.
        complete: whether `people` has everybody in it.
        ignored: `(m, 4)` boxes where people may or may not be (crowds, uncertain detections).
        size: (width, height) of the picture according to the labels, if they have it.
    """

    path: Path
    key: int
    people: tuple[Person, ...]
    complete: bool = False
    ignored: Float32s = field(default_factory=lambda: np.zeros((0, 4), np.float32))
    size: tuple[int, int] | None = None


def likely_area(box: Float32s) -> float:
    """Estimated area of the person in a box `(4,)` x1, y1, x2, y2, for people without a labelled outline."""
    return AREA_OF_BOX * float((box[2] - box[0]) * (box[3] - box[1]))


def in_sight(picture: Picture, people: Iterable[Person], size: tuple[float, float] | None = None) -> tuple[Person, ...]:
    """Those of the people whose box overlaps the picture; the others are reported in the log.

    Args:
        picture: whose people they are.
        people: any of them.
        size: (width, height) of the picture if it has been read already; else the size in its labels is used, if any.
    """
    width, height = size or picture.size or (np.inf, np.inf)
    seen = []
    for person in people:
        low, high = np.maximum(person.box[:2], 0), np.minimum(person.box[2:], [width, height])
        if (low < high).all():
            seen.append(person)
        else:
            _log.warning(
                "picture %s: the box %s of a person shows nothing of it; left out",
                picture.path, person.box.round(1).tolist(),
            )  # fmt: skip
    return tuple(seen)


def by_name(joints: Float32s, names: Sequence[str], to: JointSet) -> Float32s:
    """Joints `(k, 3)` called `names`, in the order of `to`; joints of `to` that are not in `names` get weight 0.

    Unlike `JointSet.convert` nothing is derived from other joints: only real labels must be learned.
    """
    placed = np.zeros((len(to), 3), np.float32)
    taken, places = _places(tuple(names), to.names)
    placed[places] = joints[taken]
    return placed


@cache  # a file has many people, and one list of names
def _places(names: tuple[str, ...], to: tuple[str, ...]) -> tuple[list[int], list[int]]:
    """Rows of the joints that both have: in `names`, and in `to`."""
    both = [(row, to.index(name)) for row, name in enumerate(names) if name in to]
    return [row for row, _ in both], [place for _, place in both]


def spread(pictures: Sequence[Picture], most: int, joints_needed: int) -> list[Picture]:
    """The pictures with at most `most` people of at least `joints_needed` joints, evenly spread over all of them."""
    people = [
        (row, person)
        for row, picture in enumerate(pictures)
        for person in picture.people
        if person.labelled >= joints_needed
    ]
    if len(people) <= most:
        return list(pictures)
    chosen: dict[int, list[Person]] = {}
    for number in range(most):
        row, person = people[number * len(people) // most]
        chosen.setdefault(row, []).append(person)
    return [replace(pictures[row], people=tuple(some)) for row, some in chosen.items()]
