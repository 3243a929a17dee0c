"""Decoding H.264 and H.265 access units, as a camera emits them."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from itertools import islice
from typing import Any, cast

import av
import av.error
import torch
from av.codec.context import Flags
from av.codec.hwaccel import HWAccel

from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import VIDEO_CODECS, Codec, Decoded, Pixels, check_pixels
from posewire_server.errors import FrameError, PictureTooLarge, Undecodable

__all__ = ["VideoDecoder", "holds_key_frame", "holds_parameters", "looks_back"]

log = logging.getLogger(__name__)

# Annex B: each NAL unit follows 00 00 01.
_NAL_UNIT = re.compile(rb"\x00\x00\x01([\x00-\xff])", re.DOTALL)
# FFmpeg takes 4 kB of memory for each NAL unit, however short, and 64 times the size of short messages (SEI). Encoders
# write one NAL unit per slice, each at least as long as a network packet, and a few messages.
_MOST_NAL_UNITS = 5_000
_MOST_BESIDE_SLICES = 2**20
# Long units are searched in parts of this size, since other threads wait meanwhile.
_SEARCHED_AT_ONCE = 2**20
# The most pictures that a decoder may hold back for reordering, by either standard.
_MAX_REORDERED = 16

_NAMES = {Codec.H264: "h264", Codec.H265: "hevc"}
# FFmpeg's name of the kind of device, and of the format of pictures on it.
_HARDWARE = "cuda"
_OTHER = {Codec.H264: Codec.H265, Codec.H265: Codec.H264}
# FFmpeg counts the pixels of a picture with its rows padded to a multiple of this.
_ROW_STEP = 64
# No picture of either standard has more rows.
_MOST_ROWS = 2**15
# If a hardware decoder has given no picture after this many units more than it may hold back, counted from a key frame,
# the CPU decodes them again and takes over. Without B-frames it holds back none, and this is less than clients keep in
# flight, which would otherwise wait for answers.
_TRIAL_UNITS = 6


class VideoDecoder:
    """Decodes the access units of one stream; see `FrameDecoder`.

    A damaged unit fails alone. H.265 frames that build on it fail too, until the next key frame: the decoder holds them
    back, since their pictures would be grey patches. FFmpeg does not notice an H.265 slice that ends too early: the
    missing part of such a picture shows old contents of the memory.

    Args:
        codec: one of `VIDEO_CODECS`.
        limits: of size; checked as soon as the parameter sets are read, before a picture is allocated, and again for
            each picture, since FFmpeg's own count is a little higher.
        gpu: number of the GPU whose decoder to use. It is opened at the first unit, on the decoding thread, since that
            takes a while. If it cannot be used, or fails before it has given a picture, the CPU decodes.

    Attributes:
        on_gpu: whether a GPU decodes; False before the first unit, and known for certain from the first picture on.
    """

    def __init__(self, codec: Codec, limits: LimitsConfig, gpu: int | None = None) -> None:
        if codec not in VIDEO_CODECS:
            raise ValueError(f"{codec} is not a video codec")
        self._codec = codec
        self._limits = limits
        self.on_gpu = False
        self._untried_gpu = gpu
        self._context = self._open()
        self._inside: list[int] = []  # keys fed but not yet returned, increasing
        self._proven = True  # whether the decoder has given a picture; always true of the CPU's
        self._trial: list[tuple[int, bytes]] = []  # units fed before it is proven
        self._tried = 0  # how many of them came since the first key frame
        self._is_other = False  # whether the units are of the other codec, since its last parameter sets

    def feed(self, key: int, data: bytes) -> list[Decoded]:
        """See `FrameDecoder`."""
        if not data:  # the decoder takes an empty packet for the end of the stream
            return [Decoded(key, Undecodable("the frame is empty; send an access unit"))]
        if fault := _excess(self._codec, data):
            return [Decoded(key, Undecodable(f"the access unit has {fault}; send one unit per frame"))]
        if self._are_of_the_other(data):
            sent, codec = _OTHER[self._codec], self._codec
            why = f"the access units are {sent} and this stream's codec is {codec}: open another, with codec {sent}"
            return [Decoded(key, Undecodable(why))]
        if self._untried_gpu is not None:
            self._take_up(self._untried_gpu)
        self._inside.append(key)
        if not self._proven:
            self._trial = [*self._trial[-_TRIAL_UNITS - _MAX_REORDERED :], (key, data)]
            self._tried += self._on_trial or self.starts_here(data)
        try:
            frames = self._context.decode(_packet(key, data))
        except (av.error.FFmpegError, MemoryError, ValueError) as error:
            if self._on_trial:
                return self._begin_again(error)
            return [*self._leave(key, self._why_not(error)), *self._given_up(but=self._held_back())]
        if frames and not self._proven:
            # Where the GPU refuses, as without the driver's video library, FFmpeg itself turns to the CPU unasked.
            self._proven, self.on_gpu = True, self._context.pix_fmt == _HARDWARE
            self._trial.clear()
        if self._on_trial:
            return [] if self._tried < _TRIAL_UNITS + self._held_back() else self._begin_again(None)
        return [*self._come_out(frames), *self._given_up(but=self._held_back())]

    def flush(self) -> list[Decoded]:
        """See `FrameDecoder`."""
        decoded = self._begin_again(None) if self._on_trial else []
        try:
            frames = self._context.decode(None)
        except (av.error.FFmpegError, MemoryError, ValueError):
            frames = []  # all remaining keys fail below
        return [*decoded, *self._come_out(frames), *self._given_up(but=0)]

    def starts_here(self, data: bytes) -> bool:
        """Whether the unit holds a key frame."""
        return holds_key_frame(self._codec, data)

    def _are_of_the_other(self, data: bytes) -> bool:
        """Whether the units are of the other video codec, as those of a camera that was set to it."""
        if holds_parameters(_OTHER[self._codec], data):  # neither codec has units like the parameter sets of the other
            self._is_other = True
        elif holds_parameters(self._codec, data):
            self._is_other = False
        return self._is_other

    def _take_up(self, gpu: int) -> None:
        """Decode on that GPU from now on, if possible."""
        self._untried_gpu = None
        try:
            context = self._open_on(gpu)
        except Exception as error:  # noqa: BLE001  drivers fail in many ways
            log.warning("the GPU does not decode %s: %s", self._codec, error)
            return
        if context.is_hwaccel:
            self._context, self.on_gpu, self._proven = context, True, False

    def _open_on(self, gpu: int) -> av.VideoCodecContext:
        # FFmpeg takes the CUDA context that is current in this thread: torch's of that GPU, which all streams share. It
        # would create one of hundreds of megabytes for each.
        with torch.cuda.device(gpu):
            torch.zeros(1, device="cuda")
            return self._open(
                HWAccel(_HARDWARE, device=str(gpu), allow_software_fallback=True, options={"current_ctx": "1"})
            )

    def _open(self, hardware: HWAccel | None = None) -> av.VideoCodecContext:
        context = av.CodecContext.create(_NAMES[self._codec], "r", hwaccel=hardware)
        if not isinstance(context, av.VideoCodecContext):
            raise TypeError(f"PyAV has no video decoder for {self._codec}")
        # One thread, for low delay: several threads would hold frames back, and other streams use the cores better.
        context.thread_count = 1
        context.flags |= Flags.low_delay
        context.options = {"max_pixels": str(_with_full_rows(self._limits.max_frame_pixels)), "err_detect": "explode"}
        return context

    @property
    def _on_trial(self) -> bool:
        """Whether a hardware decoder has been fed a key frame but has given no picture yet."""
        return not self._proven and self._tried > 0

    def _begin_again(self, error: Exception | None) -> list[Decoded]:
        """Replace a hardware decoder that has given no picture by the CPU, and decode its units again."""
        log.info("a stream's %s is decoded on the CPU: %s", self._codec, error or "the GPU gives no picture")
        self._context, self._proven, self.on_gpu = self._open(), True, False
        units, self._trial = self._trial, []
        unanswered, self._inside = set(self._inside), []
        decoded = [each for key, data in units for each in self.feed(key, data)]
        return [each for each in decoded if each.key in unanswered]

    def _come_out(self, frames: list[av.VideoFrame]) -> list[Decoded]:
        decoded = []
        for frame in frames:
            if frame.pts is None or frame.pts not in self._inside:
                continue  # the second field or a repetition of a frame that was returned before
            if frame.is_corrupt:
                error = Undecodable(
                    "the access unit is damaged or incomplete; send all NAL units of a picture in one frame"
                )
                decoded += self._leave(frame.pts, error)
            elif (too_large := self._too_large(frame.width, frame.height)) is not None:
                decoded += self._leave(frame.pts, too_large)
            else:
                self._inside.remove(frame.pts)
                decoded.append(Decoded(frame.pts, cast(Pixels, frame.to_ndarray(format="rgb24"))))
        return decoded

    def _held_back(self) -> int:
        """How many frames the decoder may legitimately hold back for reordering."""
        return _MAX_REORDERED if self._context.has_b_frames else 0

    def _given_up(self, *, but: int) -> list[Decoded]:
        """Fail all frames inside, except the newest `but`: no picture will come for them."""
        lost = self._inside[: max(0, len(self._inside) - but)]
        error = Undecodable(
            "the decoder has no picture for this access unit: it waits for a key frame, or an earlier unit is missing"
        )
        return [decoded for key in lost for decoded in self._leave(key, error)]

    def _leave(self, key: int, error: FrameError) -> list[Decoded]:
        self._inside.remove(key)
        return [Decoded(key, error)]

    def _too_large(self, width: int, height: int) -> PictureTooLarge | None:
        try:
            check_pixels(width, height, self._limits)
        except PictureTooLarge as error:
            return error
        return None

    def _why_not(self, error: Exception) -> FrameError:
        if (too_large := self._too_large(self._context.width, self._context.height)) is not None:
            return too_large
        return Undecodable(
            f"the access unit cannot be decoded ({error}); send whole units in Annex B format, starting with a key "
            "frame and its parameter sets"
        )


def holds_key_frame(codec: Codec, data: bytes) -> bool:
    """Whether an access unit holds a key frame (H.264: IDR; H.265: IRAP)."""
    key_frames = (5,) if codec is Codec.H264 else range(16, 24)
    return any(each in key_frames for each in _first_types(codec, data))


def holds_parameters(codec: Codec, data: bytes) -> bool:
    """Whether an access unit holds a sequence parameter set."""
    return any(each == (7 if codec is Codec.H264 else 33) for each in _first_types(codec, data))


def looks_back(codec: Codec, data: bytes) -> bool:
    """Whether an access unit builds on frames before the last key frame, as in open GOPs of H.265 (RASL)."""
    return codec is Codec.H265 and any(each in (8, 9) for each in _first_types(codec, data))


def _first_types(codec: Codec, data: bytes) -> Iterator[int]:
    """Types of the NAL units up to the first slice: all slices of a picture that is a key frame have the same type.

    The event loop waits for this, so it looks no further than the first slice of a valid unit can be.
    """
    for match in islice(_NAL_UNIT.finditer(data, 0, _MOST_BESIDE_SLICES), _MOST_NAL_UNITS):
        yield _type(codec, match)
        if _is_slice(codec, match):
            return


def _excess(codec: Codec, data: bytes) -> str:
    """What an access unit has more of than encoders write; empty if nothing."""
    units = list(islice(_nal_units(data), _MOST_NAL_UNITS + 1))
    if len(units) > _MOST_NAL_UNITS:
        return f"more than {_MOST_NAL_UNITS} NAL units"
    ends = [*(unit.start() for unit in units[1:]), len(data)]
    beside = sum(end - unit.start() for unit, end in zip(units, ends, strict=False) if not _is_slice(codec, unit))
    return f"more than {_MOST_BESIDE_SLICES} bytes beside its slices" if beside > _MOST_BESIDE_SLICES else ""


def _nal_units(data: bytes) -> Iterator[re.Match[bytes]]:
    """The beginnings of all NAL units."""
    for at in range(0, len(data), _SEARCHED_AT_ONCE):
        yield from _NAL_UNIT.finditer(data, at, at + _SEARCHED_AT_ONCE + 3)  # one may begin with the last byte


def _type(codec: Codec, unit: re.Match[bytes]) -> int:
    first = unit[1][0]
    return first & 0x1F if codec is Codec.H264 else first >> 1 & 0x3F


def _is_slice(codec: Codec, unit: re.Match[bytes]) -> bool:
    kind = _type(codec, unit)
    return 1 <= kind <= 5 if codec is Codec.H264 else kind < 32


def _with_full_rows(pixels: int) -> int:
    """The most that FFmpeg counts for a picture of `pixels` pixels, whatever its number of rows."""
    return pixels + (_ROW_STEP - 1) * min(pixels, _MOST_ROWS)


def _packet(key: int, data: bytes) -> av.Packet[Any]:
    packet = av.Packet(data)
    packet.pts = packet.dts = key
    return packet
