"""Leeds Sports Pose Extended (Johnson and Everingham, CVPR 2011): 14 joints of one person per picture."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from posewire.joints import JointSet
from posewire.os_errors import reason_of
from posewire_models.training.people import Person, Picture, by_name, likely_area
from posewire_models.training.readers.label_file import LabelFileError, box_around, numbers

__all__ = ["read_lsp_extended"]

_LABELS_NEEDED = 6
"""People with fewer labelled joints are left out: a box around so few is not a box around the person."""
_EXTEND = 0.16
"""Joints are inside the body; a detector's box around it is larger by about this share."""


def read_lsp_extended(
    file: Path, images: Path, to: JointSet, *, held_out_from: int = 9001, held_out: bool | None = None
) -> list[Picture]:
    """Pictures `im00001` ... with their one labelled person.

    Args:
        file: archive with `joints` `(n, 14, 3)` x, y, visible and `names`, 14 joint names.
        images: folder of `imNNNNN.*`; the suffix is the one found there.
        to: joint set of the result.
        held_out_from: pictures of this number and above are held out; 0 for none.
        held_out: which part of that split; None for both.

    Raises:
        LabelFileError: the archive or the folder is missing, or the arrays have other shapes.
    """
    try:
        with file.open("rb") as opened, np.load(opened, allow_pickle=False) as archive:
            joints, names = archive["joints"].astype(np.float32), [str(name) for name in archive["names"]]
    except (OSError, EOFError, KeyError, TypeError, ValueError, zipfile.BadZipFile) as error:
        raise LabelFileError(f"label file {file} cannot be read: {reason_of(error)}") from error
    if joints.ndim != 3 or joints.shape[1:] != (len(names), 3):
        raise LabelFileError(
            f"label file {file}: joints {joints.shape}, ({len(names)} names, 3) expected after the first"
        )
    numbers(joints, f"label file {file}: joints")
    suffix = next((entry.suffix for entry in sorted(images.glob("im*"))), None)
    if suffix is None:
        raise LabelFileError(f"folder {images} has no pictures im*; check the path in the config")
    pictures = []
    for number, labels in enumerate(joints, start=1):
        if held_out is not None and (0 < held_out_from <= number) != held_out:
            continue
        if int((labels[:, 2] > 0).sum()) < _LABELS_NEEDED:
            continue
        box = box_around(labels, 0.0)
        margin = _EXTEND / 2 * float(max(box[2] - box[0], box[3] - box[1]))
        box = box + np.array([-margin, -margin, margin, margin], np.float32)
        person = Person(box=box, joints=by_name(labels, names, to), area=likely_area(box))
        pictures.append(Picture(path=images / f"im{number:05d}{suffix}", key=number, people=(person,)))
    return pictures
