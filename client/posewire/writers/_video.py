"""Annotated video."""

from __future__ import annotations

import math
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from av.error import FFmpegError

from posewire._inputs import capture_time, is_number
from posewire.errors import InvalidSettings, MisuseError, OutputError
from posewire.joints import COCO17, JointSet
from posewire.output_files import AtomicPath, ResultWriter, output_error
from posewire.overlay import Trails, draw_people
from posewire.results import FrameResult, Image
from posewire.sources._frames import picture_fault

__all__ = ["VideoWriter", "check_video_name"]

# Frame times of all common rates, 30000/1001 included, are multiples of it, and MPEG-4 allows no finer one.
_TIME_BASE = Fraction(1, 60_000)
# Containers may give such rates, of which the frames know nothing.
_HIGHEST_RATE = 60_000.0
# In order of preference: encoder, options, and bits per pixel if it does not support constant quality.
_ENCODERS: tuple[tuple[str, dict[str, str], float | None], ...] = (
    ("libx264", {"preset": "veryfast", "crf": "20"}, None),
    ("mpeg4", {}, 0.25),
)
# Containers whose index is moved to the front, so that a video plays while it is downloaded.
_INDEX_AT_END = (".mp4", ".m4v", ".mov")
# Containers, by FFmpeg's names, that store the time of every frame. AVI, MXF and MPEG-PS have a fixed frame rate.
_KEEPING_TIMES = ("3g2", "3gp", "flv", "ipod", "matroska", "mov", "mp4", "mpegts", "nut", "webm")
# Those that take the start or length of a video from decoding times, which B-frames change: the first decoding time
# would be before the first picture, and a gap before the last pictures would be lost.
_BY_DECODING_TIMES = ("3g2", "3gp", "flv", "ipod", "mov", "mp4", "mpegts", "nut")
# A clock that jumps back or forward by more than these was set; MP4 cannot store a gap of five hours.
_BACK_S, _ON_S = 1.0, 4 * 3600.0
# Common suffixes for suggestions, of which those are shown that this build of PyAV supports.
_SUGGESTED = (".mp4", ".mkv", ".mov", ".m4v", ".ts")


class VideoWriter(ResultWriter):
    """A video of the frames with the people drawn onto them: H.264 if this build of PyAV has it, else MPEG-4.

    Frames keep their times, so that the video plays like the source at any frame rate. A frame without a result has a
    note instead of people; one without a picture is left out, and the previous one is shown for longer.

        with client.track("walk.mp4", keep_images=True) as stream:
            with VideoWriter("out.mp4", stream.info.joint_set, fps=stream.source.fps) as writer:
                for result in stream:
                    writer.write(result)

    Args:
        path: the file, which appears when the writer is closed; its suffix selects the container. If no picture was
            written, there is no video, and an existing file stays.
        joint_set: of the results; `stream.info.joint_set`.
        fps: the frame rate in the header; None: 25.
        trail_length: number of frames that trails reach back; 0: no trails.
        boxes: draw the boxes.
        labels: draw the ids.

    Raises:
        InvalidSettings: `fps` is not above 0 and finite.
        OutputError: the file cannot be written, or its suffix is not that of a container that can store the video and
            the times of its frames (AVI cannot).
    """

    def __init__(
        self,
        path: str | Path,
        joint_set: JointSet,
        *,
        fps: float | None = None,
        trail_length: int = 40,
        boxes: bool = True,
        labels: bool = True,
    ):
        super().__init__()
        if fps is not None and not (is_number(fps) and 0 < fps < math.inf):
            raise InvalidSettings(f"fps is {fps!r}; it must be above 0 and finite, or None for 25")
        self._path = Path(path)
        self._joint_set = joint_set
        self._fps = min(float(fps or 25.0), _HIGHEST_RATE)  # also of numpy's numbers
        self._trails = Trails(trail_length) if trail_length else None
        self._boxes = boxes
        self._labels = labels
        self._target = AtomicPath(path)
        self._size: tuple[int, int] | None = None
        self._drawn: tuple[int, ...] = ()
        self._start_s = 0.0
        self._last_pts = -1
        try:
            options = {"movflags": "faststart"} if self._path.suffix.lower() in _INDEX_AT_END else {}
            self._container = av.open(str(self._target.temporary), "w", options=options)
            if self._container.format.name not in _KEEPING_TIMES:
                raise ValueError(f"frames lose their times in the format {self._container.format.name!r}")
            self._stream = self._add_stream()
        except (FFmpegError, ValueError) as error:
            self._target.discard()
            raise OutputError(
                f"{path} cannot be written as a video: {error}; use a name that ends in .mp4 or .mkv"
            ) from error

    def write(self, result: FrameResult) -> None:
        """Draw the people of a result onto its picture, and add it.

        Raises:
            MisuseError: a tracked frame has no picture.
            InvalidSettings, OutputError: as in `add`.
        """
        if result.image is None:
            if result.tracked:
                raise MisuseError("results come without pictures; open the stream with keep_images=True")
            return
        anew = result.reconnected is not None and not result.reconnected.resumed
        if self._trails is not None and (anew or result.image.shape != self._drawn):
            # Ids start at 1 again, for other people; or the places are those of a picture of another size.
            self._trails = Trails(self._trails.length)
        self._drawn = result.image.shape
        picture = draw_people(
            result.image,
            result.people,
            self._joint_set,
            trails=self._trails,
            boxes=self._boxes,
            labels=self._labels,
        )
        if not result.tracked:
            _note(picture, f"frame {result.frame} {result.status}: {result.reason}")
        self.add(picture, result.time_s)

    def add(self, picture: Image, time_s: float) -> None:
        """Add a picture `(h, w, 3)` uint8 RGB unchanged; times must increase.

        If the time jumps back by more than a second, or forward by more than four hours, because a clock was set or
        another recording begins, the video continues one frame interval later.

        Raises:
            InvalidSettings: the picture has another type or shape, or the time is not a number of seconds.
            OutputError: the file cannot be written, or the encoder does not support this size.
        """
        self._check_open()
        fault = picture_fault(picture)
        if fault:
            raise InvalidSettings(f"there is no picture to add: {fault}")
        time_s = capture_time(time_s)
        try:
            size = self._size or self._start(picture, time_s)
            frame = av.VideoFrame.from_ndarray(_fitted(picture, size), format="rgb24")
            frame.pts = self._last_pts = self._next_pts(time_s)
            frame.time_base = _TIME_BASE
            for packet in self._stream.encode(frame):
                self._container.mux(packet)
        except (FFmpegError, OSError) as error:
            raise self._error(error) from error

    def _add_stream(self) -> Any:
        name, options, _ = _encoder()
        if self._container.format.name in _BY_DECODING_TIMES:
            options = options | {"bf": "0"}
        stream: Any = self._container.add_stream(
            name, rate=Fraction(self._fps).limit_denominator(1001), options=options
        )
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _TIME_BASE
        return stream

    def _start(self, picture: Image, time_s: float) -> tuple[int, int]:
        """Set the size of the video to that of its first picture; returns width and height."""
        height, width = picture.shape[:2]
        # 4:2:0 colour needs even sizes.
        self._size = self._stream.width, self._stream.height = (width + width % 2, height + height % 2)
        self._start_s = time_s
        _, _, bits = _encoder()
        if bits is not None:
            self._stream.bit_rate = int(bits * width * height * self._fps)
        return self._size

    def _next_pts(self, time_s: float) -> int:
        """The presentation time of a picture, in `_TIME_BASE`."""
        last_s = float(self._last_pts * _TIME_BASE)
        if not -_BACK_S <= time_s - self._start_s - last_s <= _ON_S:
            self._start_s = time_s - (last_s + 1 / self._fps)
        return max(self._last_pts + 1, round((time_s - self._start_s) / _TIME_BASE))

    def _finish(self) -> None:
        if self._size is None:
            self._give_up()
            return
        try:
            for packet in self._stream.encode():
                self._container.mux(packet)
            self._container.close()
            self._target.commit()
        except (FFmpegError, OSError) as error:
            raise self._error(error) from error
        finally:
            self._target.discard()

    def _error(self, error: FFmpegError | OSError) -> OutputError:
        if isinstance(error, OSError) or self._size is None:
            return output_error(self._path, error)
        width, height = self._size
        return OutputError(
            f"{self._path} cannot be written: a video of {width}x{height} pixels cannot be encoded ({error.strerror});"
            " give pictures of another size"
        )

    def _give_up(self) -> None:
        try:
            self._container.close()
        except FFmpegError:  # the file is discarded
            pass
        finally:
            self._target.discard()


def check_video_name(path: Path) -> None:
    """Check that a video can have this name, by writing one with a single picture to the folder for temporary files.

    If no video can be written there, because it is missing or full, every name passes.

    Raises:
        OutputError: its suffix is not that of a container that can store the video; the message suggests others.
    """
    try:
        suffixes = [] if _is_video(path.suffix) else [suffix for suffix in _SUGGESTED if _is_video(suffix)]
    except OSError:  # there is no such folder
        return
    if suffixes:
        raise OutputError(f"{path} cannot be written as a video; use a name that ends in one of {', '.join(suffixes)}")


def _is_video(suffix: str) -> bool:
    with tempfile.TemporaryDirectory(prefix="posewire-") as folder:
        try:
            with VideoWriter(Path(folder, f"one{suffix}"), COCO17) as writer:
                writer.add(np.zeros((64, 64, 3), np.uint8), 0.0)
        except OutputError:
            return False
        return True


def _encoder() -> tuple[str, dict[str, str], float | None]:
    return next(each for each in _ENCODERS if each[0] in av.codecs_available)


def _fitted(picture: Image, size: tuple[int, int]) -> Image:
    """The picture in the size of the video: padded by a repeated edge for odd sizes, else scaled with black bars."""
    width, height = size
    missing_x, missing_y = width - picture.shape[1], height - picture.shape[0]
    if missing_x == missing_y == 0:
        return np.ascontiguousarray(picture)
    if 0 <= missing_x <= 1 and 0 <= missing_y <= 1:
        bordered = cv2.copyMakeBorder(picture, 0, missing_y, 0, missing_x, cv2.BORDER_REPLICATE)
        return np.asarray(bordered, dtype=np.uint8)
    scale = min(width / picture.shape[1], height / picture.shape[0])
    fitted = cv2.resize(
        picture,
        (max(1, int(picture.shape[1] * scale)), max(1, int(picture.shape[0] * scale))),
        interpolation=cv2.INTER_AREA,
    )
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    top, left = (height - fitted.shape[0]) // 2, (width - fitted.shape[1]) // 2
    canvas[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    return canvas


def _note(picture: Image, text: str) -> None:
    """Draw a line of text on a dark strip at the bottom."""
    height, width = picture.shape[:2]
    scale = max(0.35, 0.5 * (width * height) ** 0.5 / 720)
    (_, text_height), descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
    strip = picture[max(0, height - text_height - 2 * descent) :]
    strip[:] = strip // 4
    origin = (descent, height - descent)
    cv2.putText(picture, text, origin, cv2.FONT_HERSHEY_DUPLEX, scale, (250, 250, 250), 1, cv2.LINE_AA)
