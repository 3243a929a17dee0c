"""Reading, reducing and cropping pictures."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from posewire.array_types import Image
from posewire.os_errors import reason_of
from posewire_models.one_line import in_one_line

__all__ = ["cut_square", "read_rgb", "shrunk"]

_log = logging.getLogger(__name__)


_AS_SHOWN = cv2.IMREAD_COLOR_RGB
_AS_STORED = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION


def read_rgb(file: Path, size: tuple[int, int] | None = None) -> Image | None:
    """The picture `(h, w, 3)`; None, with a line in the log, if the file is missing, damaged or has another size.

    Args:
        file: the picture.
        size: (width, height) of the picture according to its labels, if they have it. Cameras held sideways store
            pictures with a rotation tag: the picture is returned as stored, or else as rotated, whichever has this
            size. Without a size it is rotated as its tag says.
    """
    try:
        content = np.fromfile(file, np.uint8)
        pixels = cv2.imdecode(content, _AS_STORED if size else _AS_SHOWN) if len(content) else None
        if size and pixels is not None and pixels.shape[1::-1] != size:
            pixels = cv2.imdecode(content, _AS_SHOWN)
    except (OSError, cv2.error) as error:
        _log.warning("picture %s cannot be read (%s); skipped", file, in_one_line(reason_of(error)))
        return None
    if pixels is None:
        _log.warning("picture %s is damaged or of an unknown format; skipped", file)
        return None
    if size and pixels.shape[1::-1] != size:
        _log.warning("picture %s has %dx%d pixels, its labels are of %dx%d; skipped", file, *pixels.shape[1::-1], *size)
        return None
    return np.asarray(pixels, np.uint8)


def shrunk(picture: Image, scale: float) -> Image:
    """The picture scaled to this share of its size by averaging pixels; at least one pixel wide and high."""
    height, width = picture.shape[:2]
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    # Given factors instead of a size, OpenCV would map by them and not by the rounded size.
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def cut_square(picture: Image, scale: float, shift: npt.NDArray[np.floating[Any]], side: int) -> Image:
    """A square of `side` pixels from the picture, black outside of it: `square = scale * picture + shift`."""
    matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
    if scale < 0.5:  # warpAffine reads only four neighbours: first shrink by averaging
        height, width = picture.shape[:2]
        picture = shrunk(picture, 2 * scale)
        ratio = np.array([picture.shape[1] / width, picture.shape[0] / height])
        matrix[:, 2] += matrix[[0, 1], [0, 1]] * (0.5 / ratio - 0.5)
        matrix[:, :2] /= ratio
    return np.asarray(cv2.warpAffine(picture, matrix, (side, side), flags=cv2.INTER_LINEAR), np.uint8)
