"""PoseTrack JSON, 2018 (COCO-like, one file a video) and 2017 (`annolist` of `annorect`s), both with 15 joints."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from posewire.joints import POSETRACK15, JointSet
from posewire_models.training.people import Floats, Person, Picture, by_name
from posewire_models.training.readers.label_file import LabelFileError, box_around, keypoint_rows, load_json

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
        content = _object(one)
        read = _read_2017 if "annolist" in content else _read_2018
        pictures += read(one, images, to, first_key=len(pictures))
    return pictures


def _object(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise LabelFileError(f"label file {file} cannot be read: {error}") from error
    if not isinstance(content, dict):
        raise LabelFileError(f"label file {file} holds a {type(content).__name__}, not a JSON object")
    return content


def _read_2018(file: Path, images: Path, to: JointSet, first_key: int) -> list[Picture]:
    content = load_json(file, "images")
    people: dict[int, list[Person]] = {}
    for annotation in content.get("annotations", []):
        where = f"{file}: annotation {annotation.get('id')}"
        joints = keypoint_rows(annotation.get("keypoints", []), len(_2018_NAMES), where)
        person = _person(joints, _2018_NAMES, to)
        if person is not None:
            people.setdefault(annotation["image_id"], []).append(person)
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
    for entry in load_json(file, "annolist")["annolist"]:
        if "annorect" not in entry:
            continue
        people = []
        for person_entry in entry["annorect"]:
            joints = np.zeros((len(_2017_NAMES), 3), np.float32)
            for point in (person_entry.get("annopoints") or [{}])[0].get("point", []):
                number = int(point["id"][0])
                if not 0 <= number < len(_2017_NAMES):
                    raise LabelFileError(f"{file}: {entry['image']}: joint id {number}, 0..14 expected")
                joints[number] = [point["x"][0], point["y"][0], 1]
            person = _person(joints, _2017_NAMES, to)
            people += [person] if person is not None else []
        name = entry["image"][0]["name"]
        regions = entry.get("ignore_regions", [{}])
        ignored = _polygons(
            [[point["x"][0] for point in region.get("point", [])] for region in regions],
            [[point["y"][0] for point in region.get("point", [])] for region in regions],
        )
        pictures.append(Picture(images / name, first_key + len(pictures), tuple(people), ignored=ignored))
    return pictures


def _person(joints: Floats, names: tuple[str, ...], to: JointSet) -> Person | None:
    joints = joints.copy()
    joints[:, 2] = joints[:, 2] > 0
    if not joints[:, 2].any():
        return None
    box = box_around(joints, _BOX_EXTEND)
    if "head_bottom" not in to.names:
        names = tuple("neck" if name == "head_bottom" else name for name in names)
    return Person(box, by_name(joints, names, to), area=0.53 * float((box[2] - box[0]) * (box[3] - box[1])))


def _polygons(xs: list[list[float]], ys: list[list[float]]) -> Floats:
    boxes = [[min(x), min(y), max(x), max(y)] for x, y in zip(xs, ys, strict=True) if x]
    return np.array(boxes, np.float32).reshape(-1, 4)
