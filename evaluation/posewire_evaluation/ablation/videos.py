"""The frames of a sequence, from a video file or a folder of pictures."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from posewire.sources import FolderSource
from posewire_evaluation.ablation.networks import file_digest
from posewire_evaluation.errors import EvaluationError
from posewire_models.frames import Frame

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
        """Of the content, so that a cache knows it again under any name."""
        if not self.path.is_dir():
            return file_digest(self.path)
        total = hashlib.sha256()
        for picture in FolderSource(self.path).paths:
            total.update(f"{picture.name} {file_digest(picture)}\n".encode())
        return total.hexdigest()

    def frames(self) -> Iterator[Frame]:
        """All frames, from the first.

        Raises:
            VideoError: a frame cannot be read, or has another size than the first.
        """
        size: tuple[int, int] | None = None
        for index, frame in enumerate(self._pictures() if self.path.is_dir() else self._decoded()):
            size = size or frame.size
            if frame.size != size:
                raise VideoError(
                    f"{self.path}, frame {index}: it is {_in_words(frame.size)}, the first one {_in_words(size)}; the "
                    "frames of a sequence must have one size"
                )
            yield frame
        if size is None:
            raise VideoError(f"{self.path} holds no frames")

    def _pictures(self) -> Iterator[Frame]:
        for picture in FolderSource(self.path):
            if picture.image is None:
                raise VideoError(f"frame {picture.number}: {picture.problem}")
            yield Frame(picture.image, picture.time_s)

    def _decoded(self) -> Iterator[Frame]:
        index = 0
        try:
            with av.open(f"file:{self.path}") as container:
                for frame in container.decode(video=0):
                    yield Frame(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), frame.time)
                    index += 1
        except (FFmpegError, IndexError) as error:
            raise VideoError(f"{self.path}, frame {index}: it cannot be decoded ({error})") from error


def _in_words(size: tuple[int, int]) -> str:
    height, width = size
    return f"{width}x{height}"
