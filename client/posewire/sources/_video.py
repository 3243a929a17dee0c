"""Decoded pictures of a video."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from av.error import FFmpegError

from posewire.errors import SourceError
from posewire.os_errors import reason_of
from posewire.results import Image
from posewire.sources._container import FrameTimes, VideoInput
from posewire.sources._folder import decode_picture
from posewire.sources._frames import SourceFrame
from posewire.sources._orientation import orientation_of, shown_as

__all__ = ["VideoSource"]


class VideoSource:
    """The pictures of a video file, camera or network stream, upright according to its metadata.

    The first picture is decoded at once, so that a bad source is found early. A packet that cannot be decoded becomes a
    frame with a `problem`. A single picture is decoded like those of a folder. Created by `open_source`.

    Raises:
        SourceError: no picture can be decoded; while iterating: the source failed, or ended too early.
        MisuseError: while iterating: the source was closed, or was iterated over before.
    """

    codec = None

    def __init__(self, video: VideoInput, *, max_frames: int | None = None):
        self._video = video
        self._max_frames = max_frames
        self.name = video.name
        self.live = video.live
        self.silence_s = video.silence_s
        self.fps: float | None = video.fps
        known = video.frame_count
        self.frame_count: int | None = known if known is None or max_frames is None else min(known, max_frames)
        self.size: tuple[int, int] | None = None
        self._frames = self._decode()
        self._peeked: list[SourceFrame] = []
        for frame in self._frames:
            self._peeked.append(frame)
            if frame.image is not None:
                self.size = (frame.image.shape[1], frame.image.shape[0])
                video.note_frame()
                return
        problem = self._peeked[0].problem if self._peeked else "it is empty"
        raise SourceError(f"{self.name} holds no picture that can be decoded: {problem}; is it a video, and complete?")

    def __iter__(self) -> Iterator[SourceFrame]:
        self._video.begin()
        peeked, self._peeked = self._peeked, []
        # The limit is tested before the next frame is requested: a camera may take long, a file may end in an error.
        for count, frame in enumerate(itertools.chain(peeked, self._frames), start=1):
            self._video.note_frame()
            yield frame
            if count == self._max_frames:
                return

    def close(self) -> None:
        """Release the file or device."""
        self._video.close()

    def _decode(self) -> Iterator[SourceFrame]:
        times, number = FrameTimes(self._video), 0
        for packet in self._video.packets():
            try:
                pictures = self._pictures_of(packet)
            except (FFmpegError, OSError) as error:
                problem = f"a packet of {self.name} cannot be decoded: {reason_of(error)}"
                yield SourceFrame(number, times.last_s, problem=problem)
                number += 1
                continue
            for stamp_s, image in pictures:
                yield SourceFrame(number, times.next(stamp_s), image=image)
                number += 1
        self._video.check_end(number, times.last_s)

    def _pictures_of(self, packet: Any) -> Iterable[tuple[float | None, Image]]:
        """The pictures decoded from a packet, each with its time stamp in the container."""
        if self._video.is_picture:
            stamp_s = None if packet.pts is None else float(packet.pts * packet.time_base)
            return [(stamp_s, decode_picture(bytes(packet)))] if packet.size else []
        decoded = packet.decode()  # at once, so that errors are raised here; the conversion is lazy
        return ((picture.time, _upright(picture)) for picture in decoded)


def _upright(picture: Any) -> Image:
    return shown_as(picture.to_ndarray(format="rgb24"), orientation_of(picture))
