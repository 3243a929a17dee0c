"""Which pictures `posewire poses` has to answer for, under which ids, and with which boxes."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from posewire.cli.failures import CommandError

__all__ = ["Picture", "annotated_pictures", "numbered_pictures"]

_PERSON = 1


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to be answered for.

    Attributes:
        path: of the file.
        image_id: in the results.
        boxes: `(n, 4)` float32 xyxy; None: the detector finds people.
    """

    path: Path
    image_id: int
    boxes: npt.NDArray[np.float32] | None = None


def numbered_pictures(paths: Sequence[Path]) -> list[Picture]:
    """Ids from the names where all of them are different numbers, as COCO's are; else running numbers from 1."""
    stems = [path.stem for path in paths]
    if all(stem.isdecimal() for stem in stems) and len({int(stem) for stem in stems}) == len(stems):
        return [Picture(path, int(path.stem)) for path in paths]
    return [Picture(path, number) for number, path in enumerate(paths, start=1)]


def annotated_pictures(paths: Sequence[Path], ground_truth: Path) -> list[Picture]:
    """The pictures that a COCO ground truth knows, with its ids and the boxes of people with labelled joints.

    Files are found by name, then by name without suffix, so that converted pictures keep their annotations.

    Raises:
        CommandError: the file is no COCO ground truth, or knows none of the pictures.
        OSError: it cannot be read.
    """
    try:
        content = json.loads(ground_truth.read_text(encoding="utf-8"))
        ids = {Path(image["file_name"]).name: int(image["id"]) for image in content["images"]}
        boxes = _boxes(content["annotations"])
    except (ValueError, KeyError, TypeError) as error:
        raise CommandError(
            f"{ground_truth} is not a COCO ground truth: {type(error).__name__}: {error}; it needs images with id and "
            "file_name, and annotations with image_id and bbox"
        ) from error
    stems = Counter(Path(name).stem for name in ids)
    ids_by_stem = {Path(name).stem: image_id for name, image_id in ids.items() if stems[Path(name).stem] == 1}
    pictures = []
    for path in paths:
        image_id = ids.get(path.name, ids_by_stem.get(path.stem))
        if image_id is not None:
            given = np.array(boxes.get(image_id, []), np.float32).reshape(-1, 4)
            pictures.append(Picture(path, image_id, given))
    if not pictures:
        raise CommandError(f"{ground_truth} knows none of the {len(paths)} pictures by name, e.g. {paths[0].name}")
    return pictures


def _boxes(annotations: Sequence[dict[str, Any]]) -> dict[int, list[list[float]]]:
    boxes: dict[int, list[list[float]]] = {}
    for annotation in annotations:
        x, y, width, height = (float(value) for value in annotation["bbox"])
        single = not annotation.get("iscrowd", 0) and annotation.get("category_id", _PERSON) == _PERSON
        labelled = annotation.get("num_keypoints", 1) > 0  # a ground truth of boxes alone has no such field
        if single and labelled and width > 0 and height > 0:
            boxes.setdefault(int(annotation["image_id"]), []).append([x, y, x + width, y + height])
    return boxes
