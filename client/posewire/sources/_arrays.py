"""Frames that the program itself makes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sized
from dataclasses import replace

from posewire.errors import SourceError
from posewire.results import Image
from posewire.sources._frames import SourceFrame, checked_rate, own_copy, picture_fault, steady_clock

__all__ = ["ArraySource"]


class ArraySource:
    """Pictures from any iterable of arrays or of `SourceFrame`s.

    Arrays are numbered from 0 and `1 / fps` seconds apart; live ones have the Unix time at which they came instead.
    `SourceFrame`s keep their time, boxes and name, and are numbered as they come. Pictures are copied, so that a
    program may use its buffer again: about a millisecond for one of 1920x1080. Those that nobody can write into are not
    (`picture.flags.writeable = False`).

        source = ArraySource((scene.render(k) for k in range(100)), fps=25)

    Raises:
        InvalidSettings: `fps` is not above 0, or not finite.
        SourceError: while iterating: an item is not a picture; the message says which and why.
    """

    silence_s = None
    codec = None

    def __init__(
        self,
        frames: Iterable[Image | SourceFrame],
        *,
        fps: float = 25.0,
        name: str = "frames",
        live: bool = False,
        max_frames: int | None = None,
    ):
        self.name = name
        self.live = live
        self.fps = checked_rate(fps)
        self.size: tuple[int, int] | None = None
        length = len(frames) if isinstance(frames, Sized) else None
        self.frame_count: int | None = length if max_frames is None or length is None else min(length, max_frames)
        self._frames = frames
        self._max_frames = max_frames

    def __iter__(self) -> Iterator[SourceFrame]:
        # A test before each step, not `islice` or a break after it: nothing beyond the last frame may be asked for.
        frames, number, clock = iter(self._frames), 0, steady_clock()
        while self._max_frames is None or number < self._max_frames:
            try:
                item = next(frames)
            except StopIteration:
                return
            if isinstance(item, SourceFrame):
                frame = replace(item, number=number)
            else:
                frame = SourceFrame(number, clock() if self.live else number / self.fps, image=item)
            fault = "" if frame.problem else picture_fault(frame.image)
            if fault:
                raise SourceError(f"item {number} of {self.name} is no picture: {fault}")
            frame.image, frame.boxes = own_copy(frame.image), own_copy(frame.boxes)
            yield frame
            number += 1

    def close(self) -> None:
        """Nothing to release: the iterable stays its owner's."""
