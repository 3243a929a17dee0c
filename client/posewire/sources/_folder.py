"""A folder of pictures."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from posewire.errors import SourceError
from posewire.jpeg_segments import END_OF_IMAGE, jpeg_segments
from posewire.os_errors import reason_of
from posewire.results import Image
from posewire.sources._frames import SourceFrame, checked_rate

__all__ = ["PICTURE_SUFFIXES", "FolderSource", "decode_picture", "is_turned", "read_picture"]

PICTURE_SUFFIXES = (".bmp", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")


class FolderSource:
    """The pictures of a folder, sorted by name, with numbers in numerical order: `2.png` comes before `10.png`.

    A picture that cannot be read becomes a frame with a `problem` that names it, and the others follow. Files with
    suffixes that are not in `PICTURE_SUFFIXES` are ignored, and so are hidden ones: macOS creates a `._NAME` beside
    files on disks of other systems. EXIF orientation is honoured.

    Raises:
        InvalidSettings: `fps` is not above 0, or not finite.
        SourceError: the folder does not exist, cannot be read, or contains no pictures.
    """

    live = False
    silence_s = None
    codec = None
    size: tuple[int, int] | None = None

    def __init__(self, folder: str | Path, *, fps: float = 25.0, max_frames: int | None = None):
        path = Path(folder)
        if not path.is_dir():
            raise SourceError(f"{path} is not a folder; give one with pictures in it")
        try:
            pictures = [each for each in path.iterdir() if _is_picture(each)]
        except OSError as error:
            raise SourceError(f"{path} cannot be read: {reason_of(error)}; check its rights") from error
        if not pictures:
            raise SourceError(f"{path} holds no pictures; they end in {', '.join(PICTURE_SUFFIXES)}")
        self.name = str(path)
        self.fps = checked_rate(fps)
        self.paths = sorted(pictures, key=_natural_order)[:max_frames]
        self.frame_count: int | None = len(self.paths)

    def __iter__(self) -> Iterator[SourceFrame]:
        for number, path in enumerate(self.paths):
            frame = SourceFrame(number, number / self.fps, name=path.name)
            try:
                frame.image = read_picture(path)
            except OSError as error:
                frame.problem = f"{path} cannot be read: {reason_of(error)}"
            yield frame

    def close(self) -> None:
        """Do nothing: no file stays open."""


def read_picture(path: Path) -> Image:
    """The picture as RGB; raises `OSError` if it cannot be read or decoded."""
    return decode_picture(path.read_bytes())


def decode_picture(data: bytes) -> Image:
    """Decode the bytes of a picture file, upright, as RGB; raises `OSError` if that fails."""
    if _is_cut_off_jpeg(data):
        raise OSError("the JPEG is cut off or damaged: its end marker is missing")
    try:
        picture = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR_RGB) if data else None
    except cv2.error as error:
        raise OSError(error.err or str(error)) from error
    if picture is None:
        raise OSError("it is not a picture that can be decoded, or is cut off")
    return np.asarray(picture, dtype=np.uint8)


def is_turned(data: bytes) -> bool:
    """Whether a JPEG or PNG must be rotated or mirrored for display, according to its EXIF data.

    Determined by decoding at an eighth of the size, so that the answer agrees with `decode_picture`.
    """
    if b"Exif\0\0" not in data and b"eXIf" not in data:
        return False
    small, coded = cv2.IMREAD_REDUCED_GRAYSCALE_8, np.frombuffer(data, dtype=np.uint8)
    try:
        shown = cv2.imdecode(coded, small)
        stored = cv2.imdecode(coded, small | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        return False  # the next decoder reports what is wrong with it
    return shown is not None and stored is not None and not np.array_equal(shown, stored)


def _is_cut_off_jpeg(data: bytes) -> bool:
    """Whether a JPEG lacks its end marker; OpenCV would silently fill the missing part with grey."""
    if not data.startswith(b"\xff\xd8"):
        return False
    return all(segment.marker != END_OF_IMAGE for segment in jpeg_segments(data))


def _is_picture(path: Path) -> bool:
    return path.suffix.lower() in PICTURE_SUFFIXES and not path.name.startswith(".")


def _natural_order(path: Path) -> list[tuple[int, int, str]]:
    """`frame10.png` after `frame9.png`."""
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part), part) if part.isdecimal() else (1, 0, part) for part in parts]
