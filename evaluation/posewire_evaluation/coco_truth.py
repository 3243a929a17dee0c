"""Checks of ground truth in COCO format.

pycocotools checks none of this: given such a fault, it silently returns wrong numbers.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from posewire.joints import COCO17, joint_spelled
from posewire_evaluation.errors import EvaluationError

__all__ = ["WHAT_IDS_ARE", "check_truth", "fault_of_shape", "ids_of", "is_id", "is_number"]

WHAT_IDS_ARE = "ids are whole numbers below 2^63, or text"
_TOO_LARGE = 2**63
"""Integers from here on do not fit numpy's usual type: ids beside smaller ones become inexact, and get lost."""
_FARTHEST = 2**30
"""Sums of squares of larger coordinates do not fit that type, so that joints that are far apart would be near."""
_LENGTHS = {"keypoints": 3 * len(COCO17), "bbox": 4}
# Keypoints also need the box, by which people without labelled joints are matched.
_NEEDED = {
    "keypoints": ("keypoints", "num_keypoints", "area", "bbox", "iscrowd"),
    "bbox": ("bbox", "area", "iscrowd"),
}


def check_truth(annotated: dict[str, Any], kinds: Sequence[str], path: Path) -> None:
    """Reject ground truth that would give wrong scores for `kinds` (`keypoints`, `bbox` or both).

    Raises:
        EvaluationError: there is a fault; the message names the annotation and its image.
    """
    images, categories = ids_of(annotated, "images", path), ids_of(annotated, "categories", path)
    for category in annotated["categories"] if "keypoints" in kinds else ():
        _check_joints(category, path)
    ids_of(annotated, "annotations", path)
    for annotation in annotated["annotations"]:
        fault = _fault(annotation, kinds)
        if fault is None and annotation["image_id"] not in images:
            fault = "the image is not in `images`"
        if fault is None and annotation["category_id"] not in categories:
            fault = f"the category {annotation['category_id']!r} is not in `categories`"
        if fault is not None:
            where = f"annotation {annotation['id']!r} (image {annotation.get('image_id')!r})"
            raise EvaluationError(f"{path}: {where}: {fault}")


def ids_of(annotated: dict[str, Any], what: str, path: Path) -> set[Any]:
    """The ids of `images`, `annotations` or `categories`.

    Raises:
        EvaluationError: it is not a list of objects with ids; an id occurs twice (pycocotools would drop one); or some
            ids are numbers and some are text (pycocotools cannot sort them).
    """
    known: set[Any] = set()
    try:
        for each in annotated[what]:
            if each["id"] in known:
                raise EvaluationError(f"{path}: two of `{what}` have the id {each['id']!r}")
            known.add(each["id"])
    except (KeyError, TypeError) as error:
        raise EvaluationError(f"{path}: `{what}` is not a list of objects with an `id`") from error
    for odd in known:
        if not is_id(odd):
            raise EvaluationError(f"{path}: one of `{what}` has the id {odd!r}; {WHAT_IDS_ARE}")
    if len(texts := [each for each in known if isinstance(each, str)]) not in (0, len(known)):
        raise EvaluationError(
            f"{path}: some ids of `{what}` are text, as {min(texts)!r}, and some are numbers; they must be of one kind"
        )
    return known


def is_id(value: Any) -> bool:
    """Whether the value is valid as the id of an image or category."""
    return isinstance(value, str) or (isinstance(value, int) and is_number(value))


def is_number(value: Any) -> bool:
    """Whether the value is a finite number that fits a numpy type."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) < _TOO_LARGE
    return isinstance(value, float) and math.isfinite(value)


def fault_of_shape(kind: str, values: Any) -> str | None:
    """What is wrong with a list of `keypoints` or a `bbox`; None: nothing."""
    length = _LENGTHS[kind]
    if not isinstance(values, list) or len(values) != length:
        known = ": COCO's evaluation knows its own 17 joints only" if kind == "keypoints" else ""
        return f"`{kind}` is not a list of {length} numbers{known}"
    if not all(is_number(value) for value in values):
        return f"`{kind}` holds something that is not a number, or NaN"
    if any(abs(value) > _FARTHEST for value in values):
        return f"`{kind}` holds {max(values, key=abs)}: coordinates and sizes are at most 2^30 pixels"
    if kind == "bbox" and min(values[2:]) < 0:
        return f"`bbox` is {values}: width and height cannot be below 0"
    return None


def _fault(annotation: dict[str, Any], kinds: Sequence[str]) -> str | None:
    needed = {key for kind in kinds for key in _NEEDED[kind]}
    missing = {"image_id", "category_id", *needed} - annotation.keys()
    if missing:
        return f"it has no `{min(missing)}`, which {' and '.join(kinds)} results are scored by"
    if not isinstance(annotation["id"], int) or not 1 <= annotation["id"] < _TOO_LARGE:
        return "ids of annotations must be whole numbers from 1 to 2^63 - 1: pycocotools takes 0 for `no match`"
    if not all(is_id(annotation[key]) for key in ("image_id", "category_id")):
        return f"its `image_id` or `category_id` is not a valid id; {WHAT_IDS_ARE}"
    if not is_number(annotation["area"]) or annotation["area"] < 0:
        return f"the area is {annotation['area']!r}"
    for key in sorted(needed & {"iscrowd", "num_keypoints"}):
        if not isinstance(annotation[key], int):
            return f"`{key}` is {annotation[key]!r}, a whole number is needed"
    if annotation["iscrowd"] not in (0, 1):
        return f"`iscrowd` is {annotation['iscrowd']}, 0 or 1 is needed"
    for kind in sorted(needed & _LENGTHS.keys()):
        if (fault := fault_of_shape(kind, annotation[kind])) is not None:
            return fault
    if "keypoints" in needed:
        labelled = sum(visible > 0 for visible in annotation["keypoints"][2::3])
        # A person without labelled joints is not scored, and pycocotools decides that by `num_keypoints` alone.
        if (labelled == 0) != (annotation["num_keypoints"] == 0):
            return f"`num_keypoints` is {annotation['num_keypoints']}, but {labelled} of the `keypoints` are labelled"
    return None


def _check_joints(category: dict[str, Any], path: Path) -> None:
    """COCO's tolerances are per joint, in its own order; a file that names its joints must use that order."""
    names = category.get("keypoints")
    if not isinstance(names, list) or not names:
        return
    spelled = [joint_spelled(name) for name in names]
    if spelled == list(COCO17.names):
        return
    pairs = zip(spelled, COCO17.names, strict=False)
    place = next((at for at, (one, two) in enumerate(pairs) if one != two), min(len(spelled), len(COCO17)))
    there = repr(names[place]) if place < len(names) else "missing"
    wanted = repr(COCO17.names[place]) if place < len(COCO17) else "nothing more"
    raise EvaluationError(
        f"{path}: category {category['id']!r}: keypoint {place} is {there}, {wanted} expected: COCO's evaluation knows"
        " its own 17 joints only, in its own order"
    )
