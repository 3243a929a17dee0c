"""COCO keypoint JSON (`person_keypoints_*.json`), as described at the COCO data set's "data format" page."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posewire.array_types import Float32s
from posewire.joints import COCO17, JointSet, joint_spelled
from posewire.json_files import path_in_file
from posewire_models.training.people import Person, Picture, by_name
from posewire_models.training.readers.label_file import (
    LabelFileError,
    box_of,
    entry,
    keypoint_rows,
    load_json,
    wanted,
)

__all__ = ["category_of", "joints_by_category", "read_coco"]

_NEXT_TO_THE_CORNER = 2
"""Coordinates that are shares of the picture's size are below 1, or little above for people who extend beyond it."""


def read_coco(
    file: Path, images: Path, to: JointSet, *, held_out_every: int = 5, held_out: bool | None = None
) -> list[Picture]:
    """Pictures of a COCO file of keypoints or boxes, including those without people; other categories are left out.

    Args:
        file: the JSON file.
        images: folder of its pictures.
        to: joint set of the result.
        held_out_every: picture ids divisible by this are held out; 0 for none.
        held_out: which part of that split; None for both.

    Returns:
        pictures with their people. `complete` follows the optional flag `all_persons_boxed` of an image; without
        the flag it is true, because COCO boxes everybody (or marks a crowd, which goes to `ignored`). `size` is the
        image's `width` and `height`, if it has them.

    Raises:
        LabelFileError: the file is missing, empty, has no people, an annotation is faulty, or coordinates are shares of
            the picture.
    """
    content = load_json(file, "images", "annotations")
    people: dict[int, list[Person]] = {}
    crowds: dict[int, list[Float32s]] = {}
    listed, joints_of = _by_id(content["images"], file), joints_by_category(content, file)
    for row, annotation in enumerate(content["annotations"]):
        with entry(f"{file}: annotation number {row}"):
            where, image = f"{file}: annotation {annotation.get('id')}", annotation["image_id"]
            if image not in listed:
                raise LabelFileError(f"{where} names image {image!r}, which is not listed")
            names = category_of(annotation, joints_of, where)
            if names is None:
                continue
            crowd = annotation.get("iscrowd")
            if crowd not in (None, 0, 1):
                raise LabelFileError(f"{where}: iscrowd is {crowd!r}, 0 or 1 is expected")
            if crowd:
                crowds.setdefault(image, []).append(box_of(annotation["bbox"], where))
            else:
                people.setdefault(image, []).append(_person(annotation, names, where, to))
    _check_units([person for some in people.values() for person in some], file)
    return [
        Picture(
            path=images / path_in_file(image["file_name"]),
            key=key,
            people=tuple(people.get(key, ())),
            complete=bool(image.get("all_persons_boxed", True)),
            ignored=np.array(crowds.get(key, []), np.float32).reshape(-1, 4),
            size=_size(image),
        )
        for key, image in listed.items()
        if wanted(key, held_out_every, held_out)
    ]


def _check_units(people: Sequence[Person], file: Path) -> None:
    """Raise `LabelFileError` if no box, or no joint, is farther than two pixels from the corner of its picture."""
    boxes = [person.box for person in people if person.box.any()]
    joints = [person.joints[person.joints[:, 2] > 0, :2] for person in people if person.labelled]
    for what, places in (("bbox", boxes), ("keypoints", joints)):
        if places and all(each.max() <= _NEXT_TO_THE_CORNER for each in places):
            raise LabelFileError(
                f"label file {file}: every {what} lies within {_NEXT_TO_THE_CORNER} pixels of the top left corner: "
                "coordinates are in pixels, not in shares of the picture"
            )


def _by_id(images: list[dict[str, Any]], file: Path) -> dict[int, dict[str, Any]]:
    """The images of a file by `id`, a unique integer; each has a string as `file_name`."""
    listed: dict[int, dict[str, Any]] = {}
    for row, image in enumerate(images):
        where = f"{file}: image number {row}"
        with entry(where):
            key, name = image["id"], image["file_name"]
            if not isinstance(key, int) or key in listed:
                raise LabelFileError(f"{where}: its id {key!r} is no whole number, or that of another image")
            if not isinstance(name, str):
                raise LabelFileError(f"{where}: its file_name {name!r} is no text")
            listed[key] = image
    return listed


def joints_by_category(content: dict[str, Any], file: Path) -> dict[Any, tuple[str, ...] | None]:
    """By id of each category: the names of its keypoints in their order, or None if it is not called "person".

    Without names they are COCO's. In a file without categories all are people, as if in the category None.

    Raises:
        LabelFileError: no category is called "person", or one names its keypoints and some of COCO's are missing.
    """
    categories = content.get("categories") or []
    with entry(f"{file}: a category"):
        names = {category["id"]: category["name"] for category in categories}
        people = [category for category in categories if category["name"] == "person"]
        if categories and not people:
            raise LabelFileError(
                f"label file {file}: no category is called 'person'; it has {', '.join(map(str, names.values())):.200}"
            )
        joints = {category["id"]: _joint_names(category, file) for category in people}
    return {each: joints.get(each) for each in names} or {None: COCO17.names}


def _joint_names(category: dict[str, Any], file: Path) -> tuple[str, ...]:
    names = tuple(map(joint_spelled, category.get("keypoints") or COCO17.names))
    if missing := [name for name in COCO17.names if name not in names]:
        raise LabelFileError(
            f"label file {file}: the keypoints of category {category['id']!r} lack {', '.join(missing):.80}; in format "
            "'coco' all of COCO's are needed under their names there; PoseTrack's own files are of format 'posetrack'"
        )
    return names


def category_of(
    annotation: dict[str, Any], categories: dict[Any, tuple[str, ...] | None], where: str
) -> tuple[str, ...] | None:
    """The annotation's entry in `joints_by_category`; raises `LabelFileError` if its category is not listed."""
    category = None if None in categories else annotation["category_id"]
    if category not in categories:
        raise LabelFileError(f"{where} names category {category!r}, which is not listed")
    return categories[category]


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    """(width, height) of the picture, if the image entry has both."""
    width, height = image.get("width"), image.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _person(annotation: dict[str, Any], names: tuple[str, ...], where: str, to: JointSet) -> Person:
    box = box_of(annotation["bbox"], where)
    joints = keypoint_rows(annotation.get("keypoints", [0.0] * (3 * len(names))), len(names), where)
    joints[:, 2] = joints[:, 2] > 0
    width, height = np.maximum(box[2:] - box[:2], 0).tolist()
    area = annotation.get("area", width * height)
    if not isinstance(area, int | float) or not 0 <= area < math.inf:
        raise LabelFileError(f"{where}: area: a finite number from 0 up is expected, not {area!r:.80}")
    return Person(box=box, joints=by_name(joints, names, to), area=float(area))
