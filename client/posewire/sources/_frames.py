"""The interface of a source, and the frames it yields."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, TypeGuard, TypeVar

import numpy as np

from posewire._inputs import is_number
from posewire.errors import InvalidSettings
from posewire.results import BoxesLike, Image

__all__ = [
    "Source",
    "SourceFrame",
    "checked_rate",
    "is_source",
    "missing_of_source",
    "own_copy",
    "picture_fault",
    "steady_clock",
]

T = TypeVar("T")


@dataclass(slots=True, eq=False)
class SourceFrame:
    """One frame of a source: a picture, an encoded packet, or the reason why there is neither.

    Attributes:
        number: counts frames from 0.
        time_s: capture time: seconds since the start of a file, Unix time for live sources.
        image: `(h, w, 3)` uint8 RGB, or None.
        packet: one H.264 or H.265 access unit in Annex B format, or None.
        keyframe: whether the packet can be decoded without those before it.
        boxes: person boxes to use instead of the detector's: `(n, 4)` left, top, right, bottom in pixels, or `(n, 5)`
            with a score in 0..1; None: the detector runs.
        name: the source's name for the frame, such as a file name.
        problem: why the frame could not be read; it then counts as failed, and the stream continues.
        timed: whether `time_s` is the capture time, and not only the time at which a program passed the frame on.
    """

    number: int
    time_s: float
    image: Image | None = None
    packet: bytes | None = None
    keyframe: bool = True
    boxes: BoxesLike | None = None
    name: str = ""
    problem: str = ""
    timed: bool = True


class Source(Protocol):
    """Any iterable of frames that has all of these attributes. Iterate once; then `close`.

    Attributes:
        name: what was opened, for messages and headers.
        live: whether frames arrive in real time and cannot wait.
        fps: frames per second, if known.
        size: width and height of the frames, if known and the same for all.
        frame_count: number of frames, if known; from the container, so it may be off by a few.
        codec: `h264` or `h265` if the frames are packets, else None.
        silence_s: how long a live source may yield nothing before it counts as stopped; None: no limit.
    """

    @property
    def name(self) -> str: ...
    @property
    def live(self) -> bool: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def size(self) -> tuple[int, int] | None: ...
    @property
    def frame_count(self) -> int | None: ...
    @property
    def codec(self) -> str | None: ...
    @property
    def silence_s(self) -> float | None: ...

    def __iter__(self) -> Iterator[SourceFrame]:
        """The frames, whose pictures must not change later; raises `SourceError` if the source fails."""
        ...

    def close(self) -> None:
        """Release the file or device. Safe to call twice."""
        ...


_NEEDED = ("__iter__", *(name for name in vars(Source) if not name.startswith("_")))


def is_source(source: object) -> TypeGuard[Source]:
    """Whether it has all attributes of a `Source`, even through `__getattr__` (which `runtime_checkable` ignores)."""
    return not any(_lacking(source))


def missing_of_source(source: object) -> list[str]:
    """The attributes that an object meant as a `Source` lacks; empty if it was not meant as one."""
    is_meant_as_one = hasattr(source, "live") and hasattr(source, "close")
    return list(_lacking(source)) if is_meant_as_one else []


def _lacking(source: object) -> Iterator[str]:
    return (name for name in _NEEDED if not hasattr(source, name))


def picture_fault(image: object) -> str:
    """Why `image` is not a picture `(h, w, 3)` uint8; empty if it is one."""
    if not isinstance(image, np.ndarray):
        return f"it is a {type(image).__name__}; give a numpy array (h, w, 3) uint8, RGB"
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        return f"its shape is {image.shape} and its dtype {image.dtype}; give (h, w, 3) uint8, RGB"
    if 0 in image.shape:
        return f"its shape is {image.shape}; give a picture of at least one pixel"
    return ""


def checked_rate(fps: float) -> float:
    """The given frame rate; raises `InvalidSettings` if it is not a positive finite number."""
    if not (is_number(fps) and fps > 0 and math.isfinite(fps)):
        raise InvalidSettings(f"fps is {fps!r}; it must be above 0 and finite")
    return fps


def steady_clock() -> Callable[[], float]:
    """A clock of Unix time that ignores later changes to the system clock, which would look like gaps in the video."""
    epoch_s = time.time() - time.monotonic()
    return lambda: epoch_s + time.monotonic()


def own_copy(value: T) -> T:
    """A copy of an array that may still be written to; anything else as it is."""
    return value.copy() if isinstance(value, np.ndarray) and _may_change(value) else value


def _may_change(array: object) -> bool:
    while isinstance(array, np.ndarray):
        if array.flags.writeable:
            return True
        array = array.base
    return not isinstance(array, bytes | None)
