"""The H.264 or H.265 packets of a video, without re-encoding."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from typing import Any

from av.bitstream import BitStreamFilterContext
from av.error import FFmpegError

from posewire.errors import SourceError
from posewire.sources._container import FrameTimes, VideoInput
from posewire.sources._frames import SourceFrame
from posewire.sources._orientation import UPRIGHT, orientation_of

__all__ = ["PacketSource", "UnsendableError"]

# FFmpeg's codec name -> ours, and the filter to Annex B format.
_CODECS = {"h264": ("h264", "h264_mp4toannexb"), "hevc": ("h265", "hevc_mp4toannexb")}
# Annex B: each NAL unit follows 00 00 01, or 00 00 00 01.
_NAL_UNIT = re.compile(rb"\x00?\x00\x00\x01([\x00-\xff])", re.DOTALL)
# Types of NAL units by codec: slices, parameter sets, and those of a sequence.
_SLICES = {"h264": range(1, 6), "h265": range(32)}
_PARAMETERS = {"h264": (7, 8), "h265": (32, 33, 34)}
_SEQUENCE = {"h264": 7, "h265": 33}


class UnsendableError(SourceError):
    """The packets of this source cannot be sent directly; its decoded pictures can."""


class PacketSource:
    """Access units in Annex B format, one per frame, from a video file, camera or network stream.

    Every keyframe has its parameter sets, even if the source has them only at its start or in its header.

    The first picture is decoded at once, to check that there is one. A damaged packet becomes a frame with a
    `problem`. Created by `open_source`.

    Raises:
        UnsendableError: another codec, damaged parameter sets, a rotation or mirroring that packets do not carry, or
            frames out of order (B-frames), which a server could not answer one by one; while iterating: B-frames that
            the source had not announced.
        SourceError: it is not a video; while iterating: it failed, or ended too early.
        MisuseError: while iterating: it was closed, or was iterated over before.
    """

    def __init__(self, video: VideoInput, *, max_frames: int | None = None):
        self._video = video
        self._max_frames = max_frames
        self.name = video.name
        self.live = video.live
        self.silence_s = video.silence_s
        self.fps: float | None = video.fps
        known = video.frame_count
        self.frame_count: int | None = known if known is None or max_frames is None else min(known, max_frames)
        codec = video.stream.codec_context.name
        if codec not in _CODECS:
            raise UnsendableError(
                f"{self.name} is {codec}; only H.264 and H.265 can be sent as they are: use codec='jpeg'"
            )
        name, filter_name = _CODECS[codec]
        self.codec: str | None = name
        # The filter inserts parameter sets only if the header is in MP4's format. RTSP's is in Annex B, and may be the
        # only place where a camera has them.
        header = video.stream.codec_context.extradata or b""
        self._parameters = header if _NAL_UNIT.match(header) else b""
        try:
            self._filter = BitStreamFilterContext(filter_name, video.stream)
        except FFmpegError as error:
            raise UnsendableError(
                f"the parameter sets in the header of {self.name} are damaged ({error.strerror}); use codec='jpeg'"
            ) from None
        self._packets = video.packets()
        self._peeked: list[Any] = []
        try:
            self.size: tuple[int, int] | None = self._look_ahead()
        except UnsendableError:
            video.give_back(self._peeked)
            raise

    def __iter__(self) -> Iterator[SourceFrame]:
        self._video.begin()
        times, number = FrameTimes(self._video), 0
        peeked, self._peeked = self._peeked, []
        for packet in itertools.chain(peeked, self._packets):
            packet_s = None if packet.pts is None else float(packet.pts * packet.time_base)
            for frame in self._frames_of(packet):
                before_s = times.last_s
                frame.number, frame.time_s = number, times.next(packet_s)
                if frame.time_s < before_s:
                    raise UnsendableError(f"{self.name} holds frames out of order (B-frames); use codec='jpeg'")
                self._video.note_frame()
                yield frame
                number += 1
                if number == self._max_frames:
                    return
        self._video.check_end(number, times.last_s)

    def close(self) -> None:
        """Release the file or device."""
        self._video.close()

    def _frames_of(self, packet: Any) -> list[SourceFrame]:
        """The frames of a packet, without number and time; empty at the end."""
        keyframe = packet.is_keyframe  # read first, since the filter consumes the packet
        try:
            units = [bytes(unit) for unit in self._filter.filter(packet if packet.size else None)]
        except FFmpegError as error:
            problem = f"a packet of {self.name} is damaged: {error.strerror}"
            return [SourceFrame(0, 0.0, keyframe=False, problem=problem)]
        if keyframe:
            units = [self._with_parameters(unit) for unit in units]
        return [SourceFrame(0, 0.0, packet=unit, keyframe=keyframe) for unit in units]

    def _with_parameters(self, unit: bytes) -> bytes:
        """The access unit of a keyframe with parameter sets: its own, or the newest before it."""
        assert self.codec is not None
        own = _parameter_sets(self.codec, unit)
        if not any(kind == _SEQUENCE[self.codec] for kind, _ in own):
            return self._parameters + unit
        self._parameters = b"".join(data for _, data in own)
        return unit

    def _look_ahead(self) -> tuple[int, int]:
        """Size of the first picture; the packets up to it are kept for the iteration."""
        for packet in self._packets:
            self._peeked.append(packet)
            try:
                pictures = packet.decode()
            except FFmpegError:  # the server will report this packet
                continue
            if not pictures:
                continue
            self._video.note_frame()
            if orientation_of(pictures[0]) != UPRIGHT:
                raise UnsendableError(
                    f"{self.name} is rotated or mirrored by its metadata, which packets do not carry; use codec='jpeg'"
                )
            if self._video.stream.codec_context.has_b_frames:
                raise UnsendableError(
                    f"{self.name} holds frames out of order (B-frames), which cannot be answered one by one;"
                    " use codec='jpeg'"
                )
            if self._video.live:  # it was joined between two keyframes: no server could decode what precedes the first
                joined = itertools.dropwhile(lambda packet: not packet.is_keyframe, self._peeked)
                self._peeked = list(joined) or self._peeked
            return pictures[0].width, pictures[0].height
        raise SourceError(f"{self.name} holds no picture that can be decoded; is it a video, and complete?")


def _parameter_sets(codec: str, unit: bytes) -> list[tuple[int, bytes]]:
    """Type and bytes, with start code, of the parameter sets that precede the slices of an access unit."""
    sets: list[tuple[int, bytes]] = []
    begun: tuple[int, int] | None = None
    for match in _NAL_UNIT.finditer(unit):
        if begun is not None:
            sets.append((begun[0], unit[begun[1] : match.start()]))
        kind = match[1][0] & 0x1F if codec == "h264" else match[1][0] >> 1 & 0x3F
        if kind in _SLICES[codec]:
            break
        begun = (kind, match.start()) if kind in _PARAMETERS[codec] else None
    return sets
