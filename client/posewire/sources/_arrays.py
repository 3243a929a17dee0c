"""Frames that the program itself provides."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Iterator, Sized
from dataclasses import replace

from posewire.errors import SourceError
from posewire.results import Image
from posewire.sources._awaited import AwaitedItems
from posewire.sources._frames import SourceFrame, checked_rate, own_copy, picture_fault, steady_clock

__all__ = ["ArraySource"]


class ArraySource:
    """Pictures from any iterable of arrays or of `SourceFrame`s; an asynchronous one runs in the current event loop.

    Arrays are numbered from 0 and `1 / fps` seconds apart; live ones have the Unix time of their arrival instead.
    `SourceFrame`s keep their time, boxes and name, and are numbered in order. Pictures are copied, so that the program
    may reuse its buffer: this takes about a millisecond at 1920x1080. Read-only ones (`picture.flags.writeable =
    False`) are not copied.

        source = ArraySource((scene.render(k) for k in range(100)), fps=25)

    Raises:
        InvalidSettings: `fps` is not above 0, or not finite; or an asynchronous iterable is given outside of a loop.
        SourceError: while iterating: an item is not a picture; the message names it and says why.
    """

    silence_s = None
    codec = None

    def __init__(
        self,
        frames: Iterable[Image | SourceFrame] | AsyncIterable[Image | SourceFrame],
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
        self._frames = frames if isinstance(frames, Iterable) else AwaitedItems(frames)
        self._max_frames = max_frames

    def __iter__(self) -> Iterator[SourceFrame]:
        # Tested before each `next`, since `islice` or a later break could request an item beyond the last frame.
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

    def interrupt(self) -> None:
        """End the iteration in another thread if it is waiting for an asynchronous iterable."""
        if isinstance(self._frames, AwaitedItems):
            self._frames.interrupt()

    def close(self) -> None:
        """Do nothing: the iterable still belongs to the program."""
