"""Labelled poses of people, without their pictures."""

from __future__ import annotations

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from posewire.array_types import Float32s
from posewire.joints import COCO17
from posewire.os_errors import reason_of
from posewire.synth.posing import can_be_posed
from posewire_models.training.people import by_name
from posewire_models.training.readers.coco import category_of, joints_by_category
from posewire_models.training.readers.label_file import LabelFileError, entry, keypoint_rows, load_json, numbers

__all__ = ["read_poses"]


_USUAL = np.array([640, 480], np.float32)
"""Width and height of most of COCO's pictures; most others are the same in portrait format."""
_WIDEST_SHOULDERS = 1.1
"""Relative to the length of the trunk. Wider shoulders show that the picture was in portrait format."""


def read_poses(file: Path, *, held_out_every: int) -> Float32s:
    """Labels `(n, 17, 3)`, COCO's x, y and v (1 hidden, 2 visible), of all people labelled well enough to be drawn.

    Args:
        file: COCO's JSON file of keypoints; or, as `.npz`, arrays `kpt_xy_norm` `(n, 17, 2)` relative to the picture's
            size, `kpt_v` `(n, 17)`, `image_id` `(n,)` and `is_val` `(n,)`: the validation set is left out. The format
            of those pictures, landscape or portrait, is guessed.
        held_out_every: people of pictures whose id is divisible by this are left out.

    Raises:
        LabelFileError: the file is missing, faulty, or has nobody who can be drawn.
    """
    labels = _packed(file, held_out_every) if file.suffix == ".npz" else _coco(file, held_out_every)
    labels = labels[can_be_posed(labels)]
    if not len(labels):
        raise LabelFileError(
            f"label file {file} has nobody with all joints below the head and two of the face in pictures that are not "
            "held out; there is nobody to draw"
        )
    return labels


def _coco(file: Path, held_out_every: int) -> Float32s:
    labels, content = [], load_json(file, "annotations")
    joints_of = joints_by_category(content, file)
    for row, annotation in enumerate(content["annotations"]):
        where = f"{file}: annotation number {row}"
        with entry(where):
            image, names = annotation["image_id"], category_of(annotation, joints_of, where)
            if not isinstance(image, int):
                raise LabelFileError(f"{where}: its image_id {image!r} is no whole number")
            if image % held_out_every and names and "keypoints" in annotation and not annotation.get("iscrowd"):
                labels.append(by_name(keypoint_rows(annotation["keypoints"], len(names), where), names, COCO17))
    return np.array(labels, np.float32).reshape(-1, len(COCO17), 3)


def _packed(file: Path, held_out_every: int) -> Float32s:
    try:
        with file.open("rb") as stream, np.load(stream, allow_pickle=False) as content:
            held_out = (content["image_id"] % held_out_every == 0) | content["is_val"]
            places, states = content["kpt_xy_norm"][~held_out], content["kpt_v"][~held_out]
    except (OSError, ValueError, KeyError, IndexError, BadZipFile) as error:
        raise LabelFileError(f"label file {file} cannot be read: {reason_of(error)}") from error
    if places.shape[1:] != (len(COCO17), 2) or states.shape != places.shape[:2]:
        raise LabelFileError(
            f"label file {file}: kpt_xy_norm {places.shape} and kpt_v {states.shape} must be (n, {len(COCO17)}, 2) and "
            f"(n, {len(COCO17)})"
        )
    places = numbers(places, f"label file {file}: kpt_xy_norm")
    labels = np.concatenate([places * _USUAL, states[..., None]], axis=2).astype(np.float32)
    labels[_on_its_side(labels), :, :2] *= _USUAL[::-1] / _USUAL
    return labels


def _on_its_side(labels: Float32s) -> npt.NDArray[np.bool_]:
    """Whose picture must have been in portrait format: in landscape, their shoulders would be impossibly wide."""
    row = COCO17.index
    shoulders = labels[:, [row("left_shoulder"), row("right_shoulder")], :2]
    hips = labels[:, [row("left_hip"), row("right_hip")], :2]
    trunk = np.linalg.norm(shoulders.mean(axis=1) - hips.mean(axis=1), axis=1)
    return np.asarray(np.linalg.norm(shoulders[:, 0] - shoulders[:, 1], axis=1) > _WIDEST_SHOULDERS * trunk)
