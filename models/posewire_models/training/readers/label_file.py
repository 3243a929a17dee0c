"""Shared by all readers of label files: reading JSON and reporting faulty files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from posewire.array_types import Float32s
from posewire.json_files import read_json

__all__ = [
    "LabelFileError",
    "box_around",
    "box_of",
    "entry",
    "keypoint_rows",
    "load_json",
    "need_lists",
    "numbers",
    "wanted",
]


class LabelFileError(ValueError):
    """A label file is missing, unreadable, empty or faulty; the message names the file and the entry."""


@contextmanager
def entry(where: str) -> Iterator[None]:
    """Turns errors caused by a malformed entry into a `LabelFileError` that names `where`."""
    try:
        yield
    except LabelFileError:
        raise
    except KeyError as error:
        raise LabelFileError(f"{where} has no {error}") from error
    except (AttributeError, IndexError, OverflowError, TypeError, ValueError) as error:
        raise LabelFileError(f"{where} is faulty: {error}") from error


def load_json(file: Path, *required: str) -> dict[str, Any]:
    """The JSON object in `file`, which must have the `required` lists, none of them empty."""
    try:
        content = read_json(file)
    except OSError as error:
        raise LabelFileError(
            f"label file {file} cannot be read: {error.strerror}; check the path in the config"
        ) from error
    except ValueError as error:
        raise LabelFileError(f"label file {file} is not JSON: {error}") from error
    if not isinstance(content, dict):
        raise LabelFileError(f"label file {file} holds a {type(content).__name__}, not a JSON object")
    need_lists(content, file, *required)
    return content


def need_lists(content: dict[str, Any], file: Path, *names: str) -> None:
    """Raise `LabelFileError` unless the content of `file` has lists with these names, none of them empty."""
    for name in names:
        if not isinstance(content.get(name), list):
            raise LabelFileError(f"label file {file} has no list {name!r}; its keys are {', '.join(map(str, content))}")
        if not content[name]:
            raise LabelFileError(f"label file {file}: its list {name!r} is empty, there is nothing to train on")


def numbers(values: Any, where: str) -> Float32s:
    """A list of finite numbers, or lists of them; raises `LabelFileError` naming `where` for anything else."""
    try:
        with np.errstate(over="ignore"):  # what is too large becomes infinite
            array = np.asarray(values, np.float32)
    except (TypeError, ValueError) as error:
        raise LabelFileError(f"{where}: numbers are expected, not {values!r:.80}") from error
    if not np.isfinite(array).all():
        raise LabelFileError(f"{where}: finite numbers are expected, not {values!r:.80}")
    return array


def box_of(values: Any, where: str) -> Float32s:
    """`[x, y, width, height]` as x1, y1, x2, y2; raises `LabelFileError` naming `where` for anything else."""
    box = numbers(values, f"{where}: bbox")
    if box.shape != (4,):
        raise LabelFileError(f"{where}: bbox: four numbers are expected, not {values!r:.80}")
    return np.concatenate([box[:2], box[:2] + box[2:]])


def keypoint_rows(values: Any, count: int, where: str) -> Float32s:
    """`[x, y, v] * count`, flat or nested, as `(count, 3)`; raises `LabelFileError` naming `where` for others."""
    rows = numbers(values, f"{where}: keypoints")
    if rows.shape not in ((3 * count,), (count, 3)):
        raise LabelFileError(
            f"{where}: {rows.size} numbers of keypoints, {3 * count} expected ({count} joints, 3 each)"
        )
    return rows.reshape(count, 3)


def box_around(joints: Float32s, extend: float) -> Float32s:
    """Box `(4,)` around the joints with weights above 0, its sides extended by the share `extend` in total."""
    seen = joints[joints[:, 2] > 0, :2]
    low, high = seen.min(axis=0), seen.max(axis=0)
    margin = (high - low) * extend / 2
    return np.concatenate([low - margin, high + margin]).astype(np.float32)


def wanted(key: int, every: int, held_out: bool | None) -> bool:
    """Whether a picture is in this part of the split: keys divisible by `every` are held out; None: both parts."""
    return held_out is None or (every > 0 and key % every == 0) == held_out
