"""The frames of a sequence, from a video file or a folder of pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from posewire.errors import SourceError
from posewire.sources import FolderSource, open_source
from posewire_evaluation.errors import EvaluationError
from posewire_models.frames import Frame
from posewire_models.whole_files import file_digest

__all__ = ["Video", "VideoError"]


class VideoError(EvaluationError):
    """A video cannot be read; the message names file and frame."""


@dataclass(frozen=True)
class Video:
    """The frames of one sequence.

    Attributes:
        name: of the sequence.
        path: a video file, or a folder of pictures.
    """

    name: str
    path: Path

    @cached_property
    def digest(self) -> str:
        """Digest of the content, so that a cache recognises it under any name."""
        if not self.path.is_dir():
            return file_digest(self.path)
        total = hashlib.sha256()
        for picture in FolderSource(self.path).paths:
            total.update(f"{picture.name} {file_digest(picture)}\n".encode())
        return total.hexdigest()

    def frames(self) -> Iterator[Frame]:
        """All frames in order, as they would be sent to the service.

        Raises:
            VideoError: a frame cannot be read, or has another size than the first.
        """
        size: tuple[int, int] | None = None
        count = 0
        try:
            with closing(open_source(self.path, codec="png")) as source:
                for picture in source:
                    where = f"{self.path}, frame {count}"
                    if picture.image is None:
                        raise VideoError(f"{where}: {picture.problem}")
                    frame = Frame(np.asarray(picture.image, np.uint8), picture.time_s)
                    size = size or frame.size
                    if frame.size != size:
                        raise VideoError(
                            f"{where}: it is {_in_words(frame.size)}, the first one {_in_words(size)}; the frames of a "
                            "sequence must have one size"
                        )
                    yield frame
                    count += 1
        except SourceError as error:
            raise VideoError(f"{self.path}, after {count} frames: {error}") from error


def _in_words(size: tuple[int, int]) -> str:
    height, width = size
    return f"{width}x{height}"
