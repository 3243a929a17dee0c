"""The pictures that `posewire poses` processes, with their image ids and boxes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import numpy as np

from posewire.array_types import Float32s
from posewire.cli.failures import CommandError
from posewire.json_files import path_in_file, read_json

__all__ = ["Picture", "annotated_pictures", "note_on_ids", "numbered_pictures"]

_PERSON = "person"
_FARTHEST = 2.0**30
"""Pixels; as in `posewire eval coco`."""
_ID_IN_COCO = 1

_Images: TypeAlias = set[tuple[PurePosixPath, int]]
"""Image names in the ground truth, with their ids."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to process.

    Attributes:
        path: of the file.
        image_id: its id in the results.
        boxes: `(n, 4)` float32 xyxy; None: the detector finds people.
        category_id: the category of people in the results.
    """

    path: Path
    image_id: int
    boxes: Float32s | None = None
    category_id: int = _ID_IN_COCO


def numbered_pictures(paths: Sequence[Path]) -> list[Picture]:
    """Pictures with ids from their names if these are all different numbers, as in COCO; else numbered from 1."""
    if _why_not_numbers(paths) is None:
        return [Picture(path, int(path.stem)) for path in paths]
    return [Picture(path, number) for number, path in enumerate(paths, start=1)]


def note_on_ids(paths: Sequence[Path]) -> str | None:
    """A note if ids are running numbers though most names are numbers: these ids would match no ground truth."""
    why = _why_not_numbers(paths)
    if why is None or 2 * sum(path.stem.isdecimal() for path in paths) <= len(paths):
        return None
    return f"the image ids are running numbers from 1, not the numbers in the pictures' names: {why}"


def _why_not_numbers(paths: Sequence[Path]) -> str | None:
    """Why the names cannot be used as ids; None if they can."""
    known: dict[int, Path] = {}
    for path in paths:
        if not path.stem.isdecimal():
            return f"{path.name} is none"
        if (other := known.setdefault(int(path.stem), path)) is not path:
            return f"{other.name} and {path.name} have the same"
    return None


def annotated_pictures(paths: Sequence[Path], ground_truth: Path) -> tuple[list[Picture], list[str]]:
    """The pictures that a COCO ground truth lists, with its ids and the boxes of people with labelled joints.

    Also returns the names of images with such boxes that are not among the pictures.

    Files are matched by name, then by name without suffix, so that converted pictures keep their annotations. Folders
    in the names of the ground truth distinguish images with the same name.

    Raises:
        CommandError: the file is not a COCO ground truth, has no people, lists none of the pictures, or is ambiguous
            about which image a picture is; or two pictures are the same image.
        OSError: it cannot be read.
    """
    try:
        content = read_json(ground_truth)
        images = [(path_in_file(image["file_name"]), int(image["id"])) for image in content["images"]]
        category_id = _category_of_people(content, ground_truth)
        boxes = _boxes(content["annotations"], category_id)
    except (ValueError, KeyError, TypeError, OverflowError) as error:
        raise CommandError(
            f"{ground_truth} is not a COCO ground truth: {type(error).__name__}: {error}; it needs images with id and "
            "file_name, and annotations with image_id and bbox"
        ) from error
    if not boxes:
        raise CommandError(
            f"{ground_truth} has no box of a person with labelled joints (category {category_id}), so nobody would be"
            " found; leave --boxes out, and a detector looks for people"
        )
    by_name: dict[str, _Images] = defaultdict(set)
    by_stem: dict[str, _Images] = defaultdict(set)
    for name, image_id in images:
        by_name[name.name].add((name, image_id))
        by_stem[name.stem].add((name, image_id))
    pictures: dict[int, Picture] = {}
    for path in paths:
        found = _image_id(path, by_name, by_stem, ground_truth)
        if found is None:
            continue
        if found in pictures:
            raise CommandError(
                f"{pictures[found].path} and {path} are both image {found} of {ground_truth}; take one of them away"
            )
        its_boxes = np.array(boxes.get(found, []), np.float32).reshape(-1, 4)
        pictures[found] = Picture(path, found, its_boxes, category_id)
    if not pictures:
        raise CommandError(f"{ground_truth} lists none of these pictures by name, e.g. {paths[0].name}")
    return list(pictures.values()), [str(name) for name, image in images if image in boxes and image not in pictures]


def _image_id(
    path: Path, by_name: Mapping[str, _Images], by_stem: Mapping[str, _Images], ground_truth: Path
) -> int | None:
    """The id of the image that a picture is; None if the ground truth does not list it."""
    found = by_name.get(path.name) or by_stem.get(path.stem, set())
    if len(found) > 1:
        whole = path.absolute().with_suffix("").parts
        at_its_place = {each for each in found if whole[-len(each[0].parts) :] == each[0].with_suffix("").parts}
        found = at_its_place or found
    if len(found) > 1:
        (one, one_id), (other, other_id), *_ = sorted(found)
        raise CommandError(
            f"{path} is image {one_id} ({one}) or image {other_id} ({other}) of {ground_truth}: their names do not tell"
            " which; put the pictures into folders as the ground truth names them, or give one of these images alone"
        )
    return next((image_id for _, image_id in found), None)


def _category_of_people(content: dict[str, Any], ground_truth: Path) -> int:
    """The id of the category named `person`, or of the only one; COCO's if the file lists none."""
    categories = content.get("categories") or [{"id": _ID_IN_COCO, "name": _PERSON}]
    named = [each for each in categories if str(each.get("name")).casefold() == _PERSON]
    if not named and len(categories) > 1:
        names = ", ".join(repr(each.get("name")) for each in categories)
        raise CommandError(
            f"{ground_truth} has no category named {_PERSON!r}, whose boxes would be used, but {names}; call that of"
            f" people {_PERSON!r}, or leave --boxes out"
        )
    return int((named or categories)[0]["id"])


def _boxes(annotations: Sequence[dict[str, Any]], category_id: int) -> dict[int, list[list[float]]]:
    boxes: dict[int, list[list[float]]] = {}
    for annotation in annotations:
        x, y, width, height = box = [float(value) for value in annotation["bbox"]]
        if not all(abs(value) <= _FARTHEST for value in box):
            raise ValueError(f"annotation {annotation.get('id')!r}: `bbox` is {box}")
        crowd = annotation.get("iscrowd")
        if crowd not in (None, 0, 1):
            raise ValueError(f"annotation {annotation.get('id')!r}: `iscrowd` is {crowd!r}, 0 or 1 is needed")
        single = not crowd and annotation.get("category_id", category_id) == category_id
        labelled = annotation.get("num_keypoints", 1) > 0  # a ground truth of boxes alone has no such field
        if single and labelled and width > 0 and height > 0:
            boxes.setdefault(int(annotation["image_id"]), []).append([x, y, x + width, y + height])
    return boxes
