"""COCO keypoint JSON (`person_keypoints_*.json`), as described at the COCO data set's "data format" page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from posewire.joints import COCO17, JointSet
from posewire_models.training.people import Floats, Person, Picture, by_name
from posewire_models.training.readers.label_file import LabelFileError, box_of, entry, keypoint_rows, load_json, wanted

__all__ = ["read_coco"]


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
        LabelFileError: the file is missing, empty, has no people, or an annotation is faulty.
    """
    content = load_json(file, "images", "annotations")
    people: dict[int, list[Person]] = {}
    crowds: dict[int, list[Floats]] = {}
    listed, persons = _by_id(content["images"], file), _persons(content, file)
    for row, annotation in enumerate(content["annotations"]):
        with entry(f"{file}: annotation number {row}"):
            where, image = f"{file}: annotation {annotation.get('id')}", annotation["image_id"]
            if image not in listed:
                raise LabelFileError(f"{where} names image {image}, which is not listed")
            if persons and annotation["category_id"] not in persons:
                continue
            if annotation.get("iscrowd"):
                crowds.setdefault(image, []).append(box_of(annotation["bbox"], where))
            else:
                people.setdefault(image, []).append(_person(annotation, where, to))
    return [
        Picture(
            path=images / image["file_name"],
            key=key,
            people=tuple(people.get(key, ())),
            complete=bool(image.get("all_persons_boxed", True)),
            ignored=np.array(crowds.get(key, []), np.float32).reshape(-1, 4),
            size=_size(image),
        )
        for key, image in listed.items()
        if wanted(key, held_out_every, held_out)
    ]


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


def _persons(content: dict[str, Any], file: Path) -> set[int]:
    """Ids of the categories called "person"; none if the file has no categories, since all are people then."""
    categories = content.get("categories") or []
    with entry(f"{file}: a category"):
        persons = {category["id"] for category in categories if category["name"] == "person"}
        if categories and not persons:
            names = ", ".join(str(category["name"]) for category in categories)
            raise LabelFileError(f"label file {file}: no category is called 'person'; it has {names:.200}")
    return persons


def _size(image: dict[str, Any]) -> tuple[int, int] | None:
    """(width, height) of the picture, if the image entry has both."""
    width, height = image.get("width"), image.get("height")
    return (width, height) if isinstance(width, int) and isinstance(height, int) else None


def _person(annotation: dict[str, Any], where: str, to: JointSet) -> Person:
    box = box_of(annotation["bbox"], where)
    joints = keypoint_rows(annotation.get("keypoints", [0.0] * (3 * len(COCO17))), len(COCO17), where)
    joints[:, 2] = joints[:, 2] > 0
    return Person(
        box=box,
        joints=by_name(joints, COCO17.names, to),
        area=float(annotation.get("area", (box[2] - box[0]) * (box[3] - box[1]))),
    )
