"""PoseTrack JSON, 2018 (COCO-like, one file per video) and 2017 (`annolist` of `annorect`s), both with 15 joints.

Files of 2018 give the order of their keypoints in `categories`. In the Matlab export of 2017, a list with one element
may be written with or without brackets.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from posewire.array_types import Float32s
from posewire.joints import POSETRACK15, POSETRACK2017_ORDER, JointSet
from posewire.json_files import path_in_file
from posewire_models.training.people import Person, Picture, by_name, likely_area
from posewire_models.training.readers.label_file import (
    LabelFileError,
    box_around,
    entry,
    keypoint_rows,
    load_json,
    need_lists,
    numbers,
)

__all__ = ["read_posetrack"]

_BOX_EXTEND = 0.15
"""The paper's: the box around all annotated joints is extended by 15 % in length (7.5 % per side)."""


def read_posetrack(file: Path, images: Path, to: JointSet) -> list[Picture]:
    """Labelled frames of PoseTrack files.

    Args:
        file: one JSON file, or a folder of them (one per video).
        images: folder that the frames' names are relative to.
        to: joint set of the result; "head_bottom" becomes "neck" if `to` has only that name.

    Raises:
        LabelFileError: there is no file, one is faulty or empty or does not name its joints, or a person has another
            number of joints.
    """
    # Not `._NAME`, which macOS creates beside files on disks of other systems.
    files = [file]
    if file.is_dir():
        files = sorted(one for one in file.iterdir() if one.suffix.lower() == ".json" and one.name[0] != ".")
    if not files:
        raise LabelFileError(f"folder {file} has no *.json; check the path in the config")
    pictures: list[Picture] = []
    for one in files:
        content = load_json(one)
        read = _read_2017 if "annolist" in content else _read_2018
        with entry(f"label file {one}"):
            pictures += read(content, one, images, to, first_key=len(pictures))
    return pictures


def _read_2018(content: dict[str, Any], file: Path, images: Path, to: JointSet, first_key: int) -> list[Picture]:
    need_lists(content, file, "images")
    names = _joint_names(content, file)
    people: dict[int, list[Person]] = {}
    listed: set[Any] = set()
    for image in content["images"]:
        if image["id"] in listed:
            raise LabelFileError(f"label file {file}: two images have the id {image['id']!r}")
        listed.add(image["id"])
    for row, annotation in enumerate(content["annotations"]):
        with entry(f"{file}: annotation number {row}"):
            where, image = f"{file}: annotation {annotation.get('id')}", annotation["image_id"]
            if image not in listed:
                raise LabelFileError(f"{where} names image {image!r}, which is not listed")
            joints = keypoint_rows(annotation.get("keypoints", []), len(names), where)
            person = _person(joints, names, to)
            people.setdefault(image, []).extend([person] if person is not None else [])
    labelled = [image for image in content["images"] if _is_labelled(image, people, file)]
    return [
        Picture(
            path=images / path_in_file(image["file_name"]),
            key=first_key + row,
            people=tuple(people.get(image["id"], ())),
            ignored=_polygons(
                image.get("ignore_regions_x") or [], image.get("ignore_regions_y") or [], f"{file}: image {image['id']}"
            ),
        )
        for row, image in enumerate(labelled)
    ]


def _is_labelled(image: dict[str, Any], people: Collection[int], file: Path) -> bool:
    said = image.get("is_labeled", image["id"] in people)
    if said not in (0, 1):
        raise LabelFileError(f"{file}: image {image['id']}: is_labeled is {said!r:.80}, true or false is expected")
    return bool(said)


def _joint_names(content: dict[str, Any], file: Path) -> tuple[str, ...]:
    """Names of the keypoints in the file's own order."""
    with entry(f"{file}: categories"):
        categories = content.get("categories") or []
        names = tuple(categories[0].get("keypoints") or []) if len(categories) == 1 else ()
    missing = [name for name in POSETRACK15.names if name not in names]
    if missing:
        raise LabelFileError(
            f"label file {file} does not name the joints {', '.join(missing):.80}: its `categories` must be one, with "
            "the names of all keypoints in their order"
        )
    return names


def _read_2017(content: dict[str, Any], file: Path, images: Path, to: JointSet, first_key: int) -> list[Picture]:
    need_lists(content, file, "annolist")
    pictures: list[Picture] = []
    for row, frame in enumerate(content["annolist"]):
        where = f"{file}: frame number {row}"
        with entry(where):
            if "annorect" not in frame:
                continue
            image = _first(frame["image"])
            path = images / path_in_file(image["name"] if isinstance(image, dict) else image)
            found = [_person(_points(rect, where), POSETRACK2017_ORDER, to) for rect in _listed(frame["annorect"])]
            people = tuple(person for person in found if person is not None)
            regions = [_listed(region.get("point")) for region in _listed(frame.get("ignore_regions"))]
            xs, ys = ([[_first(point[axis]) for point in region] for region in regions] for axis in ("x", "y"))
            pictures.append(
                Picture(path, first_key + len(pictures), people, ignored=_polygons(xs, ys, where)),
            )
    return pictures


def _points(rect: dict[str, Any], where: str) -> Float32s:
    """Joints `(15, 3)` of one `annorect`; all weights are 0 if it has none."""
    joints = np.zeros((len(POSETRACK2017_ORDER), 3), np.float32)
    for point in _listed((_first(rect.get("annopoints")) or {}).get("point")):
        number = _first(point["id"])
        if number not in range(len(POSETRACK2017_ORDER)):
            raise LabelFileError(f"{where}: joint id {number!r}, 0..14 expected")
        number = int(number)
        joints[number] = numbers([_first(point["x"]), _first(point["y"]), 1], f"{where}: joint {number}")
    return joints


def _listed(value: Any) -> list[Any]:
    """A list of structures; a single one may be written without brackets."""
    return [value] if isinstance(value, dict) else list(value or [])


def _first(value: Any) -> Any:
    """The value, with or without brackets; None if these are empty."""
    return next(iter(value), None) if isinstance(value, list) else value


def _person(joints: Float32s, names: tuple[str, ...], to: JointSet) -> Person | None:
    joints = joints.copy()
    joints[:, 2] = joints[:, 2] > 0
    if not joints[:, 2].any():
        return None
    box = box_around(joints, _BOX_EXTEND)
    if "head_bottom" not in to.names:
        names = tuple("neck" if name == "head_bottom" else name for name in names)
    return Person(box, by_name(joints, names, to), area=likely_area(box))


def _polygons(xs: list[list[float]], ys: list[list[float]], where: str) -> Float32s:
    """The boxes around ignore regions, whose corners are given by axis."""
    if [len(x) for x in xs] != [len(y) for y in ys]:
        raise LabelFileError(f"{where}: its ignore regions have not as many x as y")
    corners = [numbers([x, y], f"{where}: ignore regions") for x, y in zip(xs, ys, strict=True) if x]
    boxes = [np.concatenate([each.min(axis=1), each.max(axis=1)]) for each in corners]
    return np.array(boxes, np.float32).reshape(-1, 4)
