"""Labels written by `posewire_models.training.teachers`: one JSON line per picture."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from posewire.array_types import Float32s
from posewire.joints import COCO17, JointSet
from posewire_models.training.people import Person, Picture, by_name, likely_area
from posewire_models.training.readers.label_file import LabelFileError, entry, numbers

__all__ = ["read_teacher", "teacher_lines", "with_teacher_faces", "with_teacher_people"]

SURE_OF_A_PERSON = 0.45
"""Detections with at least this score count as people, those below as regions to ignore."""
SURE_OF_A_JOINT = 0.35
_JOINTS_NEEDED = 7
"""Poses with fewer sure joints are left out: the teacher did not recognise the person."""
_TEACHER_WEIGHT = 0.5
"""Weight of a joint that only a teacher has labelled."""

_SHAPES = {"box": (5,), "detected": (5,), "joints": (len(COCO17), 3)}
"""Shapes of the numbers in a record; all but the box may be empty."""


def teacher_lines(file: Path) -> Iterator[dict[str, Any]]:
    """The records in `file`; raises `LabelFileError` naming a faulty line."""
    try:
        lines = file.read_bytes().splitlines()
    except OSError as error:
        raise LabelFileError(
            f"label file {file} cannot be read: {error.strerror}; check the path in the config"
        ) from error
    for number, line in enumerate(lines, start=1):
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise LabelFileError(f"label file {file}, line {number}: not JSON: {error}") from error
        _check(record, f"label file {file}, line {number}")
        yield record


def _check(record: Any, where: str) -> None:
    """Raise `LabelFileError` for a record that `posewire_models.training.teachers` cannot have written."""
    with entry(where):
        if not isinstance(record["picture"], str):
            raise LabelFileError(f"{where}: picture {record['picture']!r} is no text")
        for person in record["people"]:
            if not isinstance(person["given"], int):
                raise LabelFileError(f"{where}: given {person['given']!r} is no whole number")
            for name, shape in _SHAPES.items():
                said = numbers({"detected": [], **person}[name], f"{where}: {name}")
                if said.shape != shape and (said.size or name == "box"):
                    raise LabelFileError(f"{where}: {name} has {said.shape} numbers, {shape} expected")


def read_teacher(
    file: Path, images: Path, to: JointSet, *, held_out_every: int = 0, held_out_from: int = 0
) -> list[Picture]:
    """Unlabelled people found by the teachers, with the teachers' joints at a weight of a half.

    People who were given to the teachers (`given` not -1) have their own labels and are left out here.

    Args:
        file: the lines.
        images: folder of the pictures that they name.
        to: joint set of the result.
        held_out_every: pictures whose name ends in a number divisible by this are left out; 0 for none.
        held_out_from: and those with this number or a higher one; 0 for none.
    """
    pictures = []
    for record in teacher_lines(file):
        key = _number(record["picture"])
        if (held_out_every and key % held_out_every == 0) or (held_out_from and key >= held_out_from):
            continue
        people, doubtful = [], []
        for person in record["people"]:
            if person["given"] >= 0:
                continue
            box = np.array(person["box"], np.float32)
            if box[4] < SURE_OF_A_PERSON:
                doubtful.append(box[:4])
                continue
            joints = by_name(believed(person["joints"]), COCO17.names, to)
            people.append(Person(box[:4], joints, likely_area(box)))
        ignored = np.array(doubtful, np.float32).reshape(-1, 4)
        pictures.append(Picture(images / record["picture"], key, tuple(people), complete=True, ignored=ignored))
    return pictures


def with_teacher_faces(pictures: list[Picture], file: Path, to: JointSet) -> list[Picture]:
    """The pictures, with joints that the labels of their people lack added from a reliable teacher.

    It is reliable for a person if its other joints agree with the labels: half of those that both have must be within
    a tenth of the box's longer side (which also excludes results with left and right swapped).

    Raises:
        LabelFileError: the file is missing, faulty, or names none of the pictures.
    """
    said = {
        name: {person["given"]: person["joints"] for person in people if person["given"] >= 0}
        for name, people in _answers(file, pictures).items()
    }
    completed = []
    for picture in pictures:
        answers = said.get(picture.path.name, {})
        people = tuple(
            _completed(person, by_name(believed(answers.get(row, [])), COCO17.names, to))
            for row, person in enumerate(picture.people)
        )
        completed.append(replace(picture, people=people))
    return completed


def with_teacher_people(pictures: list[Picture], file: Path) -> list[Picture]:
    """The pictures in which not everybody is labelled, completed with the people that the teacher found.

    If the teacher also found a labelled person, its box replaces one that was only made around joints.

    Raises:
        LabelFileError: the file is missing, faulty, names none of the pictures, or was written for other labels.
    """
    said = _answers(file, pictures)
    completed = []
    for picture in pictures:
        if picture.complete or picture.path.name not in said:
            completed.append(picture)
            continue
        people, doubtful = list(picture.people), [*picture.ignored]
        for seen in said[picture.path.name]:
            if seen["given"] >= len(picture.people):
                raise LabelFileError(
                    f"label file {file} tells of person {seen['given']} of {picture.path.name}, whose labels have "
                    f"{len(picture.people)}: it was written for other labels"
                )
            box = np.array(seen.get("detected") or seen["box"], np.float32)
            if seen["given"] >= 0:
                if seen.get("detected"):
                    people[seen["given"]] = replace(people[seen["given"]], box=box[:4])
            elif box[4] < SURE_OF_A_PERSON:
                doubtful.append(box[:4])
            else:
                people.append(Person(box[:4], np.zeros((0, 3), np.float32), area=0.0))
        ignored = np.array(doubtful, np.float32).reshape(-1, 4)
        completed.append(replace(picture, people=tuple(people), ignored=ignored, complete=True))
    return completed


def _answers(file: Path, pictures: list[Picture]) -> dict[str, list[dict[str, Any]]]:
    """What the teacher says of the people in each picture, by the picture's name."""
    said = {record["picture"]: record["people"] for record in teacher_lines(file)}
    names = [picture.path.name for picture in pictures]
    if names and said.keys().isdisjoint(names):
        raise LabelFileError(
            f"label file {file} tells of none of the {len(names)} pictures that it is to complete: it names "
            f"{next(iter(said), 'none')!r:.80}, and they are called {names[0]!r:.80}, for example"
        )
    return said


def _completed(person: Person, teacher: Float32s) -> Person:
    both = (person.joints[:, 2] > 0) & (teacher[:, 2] > 0)
    side = float(max(person.box[2] - person.box[0], person.box[3] - person.box[1]))
    apart = np.linalg.norm(person.joints[both, :2] - teacher[both, :2], axis=1)
    if both.sum() < 4 or np.mean(apart < 0.1 * side) < 0.5:
        return person
    new = (person.joints[:, 2] == 0) & (teacher[:, 2] > 0)
    joints = np.where(new[:, None], teacher, person.joints)
    return replace(person, joints=joints)


def _number(name: str) -> int:
    digits = re.findall(r"\d+", Path(name).stem)
    return int(digits[-1]) if digits else 0


def believed(joints: list[list[float]]) -> Float32s:
    """A teacher's joints `(17, 3)`: weight a half where it is sure, else 0; all 0 if it is sure of too few."""
    rows = np.zeros((len(COCO17), 3), np.float32)
    if joints:
        rows[:] = joints
    rows[:, 2] = _TEACHER_WEIGHT * (rows[:, 2] >= SURE_OF_A_JOINT)
    if int((rows[:, 2] > 0).sum()) < _JOINTS_NEEDED:
        rows[:, 2] = 0
    return rows
