"""COCO keypoint JSON (`person_keypoints_*.json`), as described at the COCO data set's "data format" page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from posewire.joints import COCO17, JointSet
from posewire_models.training.people import Person, Picture, by_name
from posewire_models.training.readers.label_file import LabelFileError, keypoint_rows, load_json, wanted

__all__ = ["read_coco"]


def read_coco(
    file: Path, images: Path, to: JointSet, *, held_out_every: int = 5, held_out: bool | None = None
) -> list[Picture]:
    """Pictures of a COCO keypoint file, those without people too.

    Args:
        file: the JSON file.
        images: folder of its pictures.
        to: joint set of the result.
        held_out_every: picture ids divisible by this are held out.
        held_out: which side of that split; `None` for both.

    Returns:
        pictures with their people. `complete` follows the optional flag `all_persons_boxed` of an image; without
        the flag it is true, because COCO boxes everybody (or marks a crowd, which goes to `ignored`).

    Raises:
        LabelFileError: the file is missing, empty, or an annotation is faulty.
    """
    content = load_json(file, "images", "annotations")
    people: dict[int, list[Person]] = {}
    crowds: dict[int, list[list[float]]] = {}
    known = {image["id"] for image in content["images"]}
    for annotation in content["annotations"]:
        image = annotation["image_id"]
        if image not in known:
            raise LabelFileError(f"{file}: annotation {annotation.get('id')} names image {image}, which is not listed")
        if annotation.get("iscrowd"):
            x, y, width, height = annotation["bbox"]
            crowds.setdefault(image, []).append([x, y, x + width, y + height])
        else:
            people.setdefault(image, []).append(_person(file, annotation, to))
    return [
        Picture(
            path=images / image["file_name"],
            key=image["id"],
            people=tuple(people.get(image["id"], ())),
            complete=bool(image.get("all_persons_boxed", True)),
            ignored=np.array(crowds.get(image["id"], []), np.float32).reshape(-1, 4),
        )
        for image in content["images"]
        if wanted(image["id"], held_out_every, held_out)
    ]


def _person(file: Path, annotation: dict[str, Any], to: JointSet) -> Person:
    where = f"{file}: annotation {annotation.get('id')}"
    x, y, width, height = annotation["bbox"]
    joints = keypoint_rows(annotation.get("keypoints", [0.0] * (3 * len(COCO17))), len(COCO17), where)
    joints[:, 2] = joints[:, 2] > 0
    return Person(
        box=np.array([x, y, x + width, y + height], np.float32),
        joints=by_name(joints, COCO17.names, to),
        area=float(annotation.get("area", width * height)),
    )
