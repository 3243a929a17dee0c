"""Decoding the bytes of a frame to RGB pixels.

Each stream has its own `FrameDecoder`, which is fed frame by frame. Pictures come out at once; video frames may come
out later and in another order, so every outcome names its frame. Decoders are plain synchronous code, called on a
decoding thread, one call at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, cast

import cv2
import numpy as np
import numpy.typing as npt
from torch import Tensor

from posewire_server.config import LimitsConfig
from posewire_server.decoding.cpu_jpeg import decode_jpeg
from posewire_server.decoding.picture_headers import jpeg_header, png_size
from posewire_server.errors import FrameError, PictureTooLarge, Undecodable, WrongSize

__all__ = [
    "PICTURE_CODECS",
    "RAW_CODECS",
    "VIDEO_CODECS",
    "Codec",
    "Decoded",
    "FrameDecoder",
    "JpegDecoder",
    "PictureDecoder",
    "Pixels",
    "check_pixels",
]

Pixels = npt.NDArray[np.uint8]


class Codec(StrEnum):
    """How frames are encoded."""

    JPEG = "jpeg"
    PNG = "png"
    RAW_RGB24 = "raw-rgb24"
    RAW_BGR24 = "raw-bgr24"
    H264 = "h264"
    H265 = "h265"


VIDEO_CODECS = frozenset({Codec.H264, Codec.H265})
"""Codecs in which frames build on earlier ones."""
PICTURE_CODECS = frozenset(Codec) - VIDEO_CODECS
"""Codecs in which every frame is independent."""
RAW_CODECS = frozenset({Codec.RAW_RGB24, Codec.RAW_BGR24})
"""Picture codecs whose data does not contain the size."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """The outcome of one frame.

    Attributes:
        key: of the frame, as given to `feed`.
        outcome: its pixels, uint8 `(h, w, 3)` RGB, not shared, either writable or on the device that decoded them; or
            why there are none.
    """

    key: int
    outcome: Pixels | Tensor | FrameError


class JpegDecoder(Protocol):
    """A JPEG decoder on another device, called from many threads."""

    def decode(self, data: bytes) -> Tensor | None:
        """Pixels `(h, w, 3)` RGB on that device; None if it cannot decode this picture."""
        ...


class FrameDecoder(Protocol):
    """The decoder of one stream."""

    def feed(self, key: int, data: bytes) -> list[Decoded]:
        """Decode one frame. The outcomes returned may belong to frames fed earlier. Keys must increase."""
        ...

    def flush(self) -> list[Decoded]:
        """The remaining outcomes, after the last frame. Every key fed has then been returned exactly once."""
        ...

    def starts_here(self, data: bytes) -> bool:
        """Whether decoding can start at this frame without earlier ones."""
        ...


class PictureDecoder:
    """Decodes JPEG, PNG and raw frames, each independently.

    EXIF orientations are not applied, since results are in pixels of the frame as it was sent.

    Args:
        codec: one of `PICTURE_CODECS`.
        raw_size: (width, height) of raw frames.
        limits: of size.
        jpegs: tried first for common JPEGs, once their headers have been checked; None: the CPU decodes all.

    Raises:
        ValueError: `codec` is a video codec, or a raw one and there is no size.
    """

    def __init__(
        self,
        codec: Codec,
        raw_size: tuple[int, int] | None,
        limits: LimitsConfig,
        jpegs: JpegDecoder | None = None,
    ) -> None:
        if codec not in PICTURE_CODECS:
            raise ValueError(f"{codec} is a video codec")
        if codec in RAW_CODECS and raw_size is None:
            raise ValueError(f"{codec} frames need their width and height")
        self._codec = codec
        self._limits = limits
        self._raw_size = raw_size
        self._jpegs = jpegs

    def decode(self, data: bytes) -> Pixels | Tensor:
        """Pixels of one picture.

        Raises:
            Undecodable, PictureTooLarge, WrongSize: see `errors`.
        """
        if not data:
            raise Undecodable("the frame is empty; send the encoded picture")
        match self._codec:
            case Codec.JPEG:
                return self._from_jpeg(data)
            case Codec.PNG:
                return self._decode(data, png_size(data))
            case _:
                return self._from_raw(data)

    def feed(self, key: int, data: bytes) -> list[Decoded]:
        """See `FrameDecoder`; one frame in, one out."""
        try:
            return [Decoded(key, self.decode(data))]
        except FrameError as error:
            return [Decoded(key, error)]

    def flush(self) -> list[Decoded]:
        """Always empty."""
        return []

    def starts_here(self, data: bytes) -> bool:
        """Always true."""
        return True

    def _from_jpeg(self, data: bytes) -> Pixels | Tensor:
        width, height, is_common = jpeg_header(data)
        check_pixels(width, height, self._limits)
        if self._jpegs is not None and is_common:
            on_device = self._jpegs.decode(data)
            if on_device is not None and on_device.shape == (height, width, 3):
                return on_device
            self._jpegs = None  # the client's other pictures will be of the same kind
        pixels = decode_jpeg(data)
        return self._decode(data, (width, height)) if pixels is None else self._checked(pixels, (width, height))

    def _decode(self, data: bytes, size: tuple[int, int]) -> Pixels:
        check_pixels(*size, self._limits)
        flags = cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION
        try:
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
        except cv2.error as error:
            raise Undecodable(f"the {self._codec.upper()} cannot be decoded: {error.err or 'damaged'}") from error
        if pixels is None:
            raise Undecodable(f"the {self._codec.upper()} cannot be decoded: it is cut off or damaged")
        return self._checked(cast(Pixels, pixels), size)

    def _checked(self, pixels: Pixels, size: tuple[int, int]) -> Pixels:
        width, height = size
        if pixels.shape != (height, width, 3):
            raise Undecodable(f"the {self._codec.upper()} does not have the size that its header gives")
        return pixels

    def _from_raw(self, data: bytes) -> Pixels:
        width, height = cast("tuple[int, int]", self._raw_size)
        wanted = width * height * 3
        if len(data) != wanted:
            raise WrongSize(
                f"the raw frame has {len(data)} bytes; {width}x{height} pixels of 3 bytes are {wanted}: send rows "
                "without padding, or announce another size"
            )
        pixels = np.frombuffer(data, np.uint8).reshape(height, width, 3)
        if self._codec is Codec.RAW_BGR24:
            return cast(Pixels, cv2.cvtColor(pixels, cv2.COLOR_BGR2RGB))
        return pixels.copy()


def check_pixels(width: int, height: int, limits: LimitsConfig) -> None:
    """Raise `PictureTooLarge` if a frame of this size has more pixels than the server accepts."""
    if width * height > limits.max_frame_pixels:
        raise PictureTooLarge(
            f"the frame has {width}x{height} = {width * height} pixels; this server accepts {limits.max_frame_pixels} "
            "from you (limits.max_frame_pixels, or pixels of the token): send it smaller"
        )
