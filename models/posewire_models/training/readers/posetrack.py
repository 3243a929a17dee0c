"""PoseTrack JSON, 2018 (COCO-like, one file a video) and 2017 (`annolist` of `annorect`s), both with 15 joints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from posewire.joints import POSETRACK15, JointSet
from posewire_models.training.people import Floats, Person, Picture, by_name, likely_area
from posewire_models.training.readers.label_file import (
    LabelFileError,
    box_around,
    entry,
    keypoint_rows,
    load_json,
    numbers,
)

__all__ = ["read_posetrack"]

# Joint names as the files of both years spell them. PoseTrack's ears are never labelled.
_2018_NAMES = ("nose", "head_bottom", "head_top", "left_ear", "right_ear", *POSETRACK15.names[3:])
# Ids of `annopoints` in the files of 2017 (poseval, `README.md`), in the order of their numbers 0..14.
_2017_NAMES = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "head_bottom", "nose", "head_top",
)  # fmt: skip
_BOX_EXTEND = 0.15
"""The paper's: the box around all annotated joints is extended by 15 % in length (7.5 % a side)."""


def read_posetrack(file: Path, images: Path, to: JointSet) -> list[Picture]:
    """Labelled frames of PoseTrack files.

    Args:
        file: one JSON file, or a folder of them (one a video).
        images: folder that the frames' names start from.
        to: joint set of the result; "head_bottom" becomes "neck" where `to` has only that name.

    Raises:
        LabelFileError: nothing found, a file is faulty or empty, or a person has another number of joints.
    """
    files = sorted(file.glob("*.json")) if file.is_dir() else [file]
    if not files:
        raise LabelFileError(f"folder {file} has no *.json; check the path in the config")
    pictures: list[Picture] = []
    for one in files:
        content = load_json(one)
        read = _read_2017 if "annolist" in content else _read_2018
        with entry(f"label file {one}"):
            pictures += read(one, images, to, first_key=len(pictures))
    return pictures


def _read_2018(file: Path, images: Path, to: JointSet, first_key: int) -> list[Picture]:
    content = load_json(file, "images")
    people: dict[int, list[Person]] = {}
    listed = {image["id"] for image in content["images"]}
    for row, annotation in enumerate(content.get("annotations", [])):
        with entry(f"{file}: annotation number {row}"):
            where, image = f"{file}: annotation {annotation.get('id')}", annotation["image_id"]
            if image not in listed:
                raise LabelFileError(f"{where} names image {image}, which is not listed")
            joints = keypoint_rows(annotation.get("keypoints", []), len(_2018_NAMES), where)
            person = _person(joints, _2018_NAMES, to)
            people.setdefault(image, []).extend([person] if person is not None else [])
    labelled = [image for image in content["images"] if image.get("is_labeled", image["id"] in people)]
    return [
        Picture(
            path=images / image["file_name"],
            key=first_key + row,
            people=tuple(people.get(image["id"], ())),
            ignored=_polygons(image.get("ignore_regions_x", []), image.get("ignore_regions_y", [])),
        )
        for row, image in enumerate(labelled)
    ]


def _read_2017(file: Path, images: Path, to: JointSet, first_key: int) -> list[Picture]:
    pictures: list[Picture] = []
    for row, frame in enumerate(load_json(file, "annolist")["annolist"]):
        where = f"{file}: frame number {row}"
        with entry(where):
            if "annorect" not in frame:
                continue
            path = images / frame["image"][0]["name"]
            found = [_person(_points(rect, where), _2017_NAMES, to) for rect in frame["annorect"]]
            people = tuple(person for person in found if person is not None)
            regions = frame.get("ignore_regions", [{}])
            ignored = _polygons(
                [[point["x"][0] for point in region.get("point", [])] for region in regions],
                [[point["y"][0] for point in region.get("point", [])] for region in regions],
            )
            pictures.append(Picture(path, first_key + len(pictures), people, ignored=ignored))
    return pictures


def _points(rect: dict[str, Any], where: str) -> Floats:
    """Joints `(15, 3)` of one `annorect`, all of weight 0 where it has none."""
    joints = np.zeros((len(_2017_NAMES), 3), np.float32)
    for point in (rect.get("annopoints") or [{}])[0].get("point", []):
        number = int(point["id"][0])
        if not 0 <= number < len(_2017_NAMES):
            raise LabelFileError(f"{where}: joint id {number}, 0..14 expected")
        joints[number] = numbers([point["x"][0], point["y"][0], 1], f"{where}: joint {number}")
    return joints


def _person(joints: Floats, names: tuple[str, ...], to: JointSet) -> Person | None:
    joints = joints.copy()
    joints[:, 2] = joints[:, 2] > 0
    if not joints[:, 2].any():
        return None
    box = box_around(joints, _BOX_EXTEND)
    if "head_bottom" not in to.names:
        names = tuple("neck" if name == "head_bottom" else name for name in names)
    return Person(box, by_name(joints, names, to), area=likely_area(box))


def _polygons(xs: list[list[float]], ys: list[list[float]]) -> Floats:
    boxes = [[min(x), min(y), max(x), max(y)] for x, y in zip(xs, ys, strict=True) if x]
    return np.array(boxes, np.float32).reshape(-1, 4)
