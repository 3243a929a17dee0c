"""An opened video: file, camera or network stream."""

from __future__ import annotations

import contextlib
import errno
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import av
from av.error import FFmpegError, InvalidDataError
from av.stream import Discard, Disposition

from posewire.errors import MisuseError, SourceError
from posewire.os_errors import reason_of
from posewire.sources._frames import steady_clock
from posewire.sources._pace import Pace

__all__ = ["FrameTimes", "NoVideoError", "VideoInput"]

# A file is treated as cut off if its pictures end this much earlier than its header says.
_SHORTFALL_FRACTION, _SHORTFALL_S = 0.05, 1.0
# Formats with one length for the whole file, which FFmpeg sometimes reports as that of a stream.
_ONE_LENGTH = ("matroska,webm", "flv")
# H.264 and H.265 reorder at most this many frames: a frame that is earlier by more intervals is not just out of order.
_MOST_REORDERED = 16
# FFmpeg looks ten times a second whether it has waited for too long. If it took this much longer, the program was
# suspended meanwhile, and frames may have arrived.
_GIVEN_UP_WITHIN_S = 1.0
# Formats of single pictures that may specify an orientation, by FFmpeg's codec names.
_PICTURES = ("mjpeg", "png", "tiff", "webp")
# Formats whose address is that of a list of segments, often with renditions of several sizes.
_SEGMENTED = ("hls", "dash")
_TLS_URL = re.compile(r"(https|rtsps|rtmps|tls)://", re.IGNORECASE)


class NoVideoError(SourceError):
    """FFmpeg found no video in a source."""


class VideoInput:
    """The first video stream of anything FFmpeg can open; the cover picture of a song does not count.

    Of the renditions of an HLS or DASH stream it is the largest one, and the others are not loaded.

    Args:
        address: path, device or URL, for FFmpeg.
        name: for messages.
        live: whether frames arrive in real time. None: if it has no known end.
        format_name: FFmpeg's input format; None: FFmpeg detects it.
        options: for the input, e.g. `{"video_size": "1280x720"}`.
        timeout_s: longest wait for opening, and for the next packet.
        clock: Unix time, for the frames of a live input.

    Raises:
        NoVideoError: it contains no video.
        SourceError: it cannot be opened, or contains no video that FFmpeg can decode.
    """

    def __init__(
        self,
        address: str,
        *,
        name: str,
        live: bool | None = None,
        format_name: str | None = None,
        options: dict[str, str] | None = None,
        timeout_s: float | None = None,
        clock: Callable[[], float] | None = None,
    ):
        self.name = name
        self._address = address
        self._timeout_s = timeout_s
        self.clock = steady_clock() if clock is None else clock
        self._begun = False
        self._timed_out = False
        self._closed = False
        self._in_use = threading.Lock()  # FFmpeg crashes if a container is read after closing or during it
        begun_s = time.monotonic()
        try:
            self.container = av.open(address, format=format_name, options=options or {}, timeout=timeout_s)
        except (FFmpegError, OSError, ValueError) as error:
            # Not `from error`, here and below: FFmpeg's message contains the address, which may include a password.
            waited_s = time.monotonic() - begun_s
            raise SourceError(f"{name} cannot be opened: {_reason(error, timeout_s, waited_s, address)}") from None
        try:
            self.stream = _video_stream(self.container, name)
        except SourceError:
            self.container.close()
            raise
        self._is_segmented = self.container.format.name in _SEGMENTED
        if self._is_segmented:
            for other in self.container.streams:
                other.discard = Discard.default if other is self.stream else Discard.all
        self.live = self._is_endless() if live is None else live
        self._pace = Pace(timeout_s) if self.live and self._is_segmented and timeout_s is not None else None
        self.silence_s = timeout_s if self.live else None
        self._gave_frame = False
        self._hung_up = False
        self._given_back: list[Any] = []
        self._ends_s: dict[int, float] = {}  # by stream index: the end of its packets so far, in the file's time
        self._end_byte = 0  # of the packets so far
        # Frame threading is faster, but delays as many frames as there are threads.
        self.stream.thread_type = "SLICE" if self.live else "AUTO"

    @property
    def fps(self) -> float | None:
        """Frames per second according to the container."""
        rate = self.stream.average_rate or self.stream.guessed_rate
        return float(rate) if rate else None

    @property
    def frame_count(self) -> int | None:
        """Number of frames according to the container."""
        return None if self.live else self.stream.frames or None

    @property
    def is_picture(self) -> bool:
        """Whether this is a picture file, of which a packet is the whole picture."""
        kind = self.container.format.name
        return (kind == "image2" or kind.endswith("_pipe")) and self.stream.codec_context.name in _PICTURES

    @property
    def has_ended(self) -> bool:
        """Whether this is a list of segments to which none will be added."""
        return self._is_segmented and self.container.duration is not None

    def begin(self) -> None:
        """Begin reading the frames, which is possible only once.

        Raises:
            MisuseError: they were read before, or the source is closed.
        """
        self._check_open()
        if self._begun:
            raise MisuseError(f"{self.name} was read already; open it again")
        self._begun = True

    def packets(self) -> Iterator[Any]:
        """The packets of the video stream, and at the end one without data that flushes the decoder.

        Raises:
            SourceError: reading failed, a live source ended, or nothing that it gave could be decoded in time.
            MisuseError: the source was closed.
        """
        given_back, self._given_back = self._given_back, []
        yield from given_back
        # Sound and other streams are read too. In a file, how far they reach shows whether it is cut off; of a camera,
        # they may go on without end after the pictures have stopped.
        demuxed, silent_since_s = self.container.demux(*self.container.streams), None
        while (packet := self._next_of(demuxed)) is not None:
            now_s = time.monotonic()
            if self._gave_frame or silent_since_s is None:  # a frame that waits to be taken is no silence
                silent_since_s, self._gave_frame = now_s, False
            if self.silence_s is not None and now_s - silent_since_s > self.silence_s:
                # Packets that cannot be decoded may come without end.
                raise SourceError(
                    f"{self.name} gives no picture that can be decoded: none for {self.silence_s:g} s; look at its"
                    " settings, or raise timeout_s if its keyframes are rarer"
                )
            self._note_end(packet)
            if packet.stream.index == self.stream.index:  # `stream_index` is 0 in all that flush a decoder
                if self._pace is not None and packet.dts is not None:
                    self._pace.wait(float(packet.dts * packet.time_base))
                yield packet

    def give_back(self, packets: list[Any]) -> None:
        """Let the next `packets()` begin with these, the first that were read: a pipe or camera may open only once."""
        self.stream.codec_context.flush_buffers()
        self._given_back = [packet for packet in packets if packet.size]

    def note_frame(self) -> None:
        """Note that the first picture was decoded, or that a frame is handed out: the source is not silent."""
        self._gave_frame = True

    def check_end(self, frames: int, last_time_s: float) -> None:
        """Raise `SourceError` if the source should have continued after this many frames."""
        if self.live and frames == 1 and self.is_picture:
            raise SourceError(f"{self.name} is a single picture; give the address of the camera's video")
        if self.live:
            raise SourceError(f"{self.name} stopped after {frames} frames; is the camera still connected?")
        with self._held_open():
            length_s, reached_s = self._extent(last_time_s)
            missing = self._missing_bytes()
        if length_s - reached_s > max(_SHORTFALL_S, _SHORTFALL_FRACTION * length_s):
            raise SourceError(
                f"{self.name} ends after {last_time_s:.1f} s of {length_s:.1f} s; is the file cut off?"
                f" The {frames} frames before that were read"
            )
        if missing:
            raise SourceError(
                f"{self.name} is cut off: by its index, {missing} bytes of the video are missing at its end. "
                f"The {frames} frames before that were read"
            )

    def close(self) -> None:
        """Release the file or device: at once, or as soon as another thread has read the packet it is waiting for."""
        self._closed = True
        if self._pace is not None:
            self._pace.interrupt()
        if self._in_use.acquire(blocking=False):
            try:
                self.container.close()
            finally:
                self._in_use.release()

    @contextlib.contextmanager
    def _held_open(self) -> Iterator[None]:
        try:
            with self._in_use:
                self._check_open()
                yield
        finally:
            if self._closed:  # perhaps meanwhile
                self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise MisuseError(f"{self.name} is closed; open it again")

    def _next_of(self, demuxed: Iterator[Any]) -> Any:
        """The next packet; None after the last."""
        with self._held_open():
            if self._timed_out:
                raise SourceError(f"{self.name} broke off: {_nothing_came(self._timeout_s)}")
            begun_s = time.monotonic()
            try:
                packet = next(demuxed, None)
            except (FFmpegError, OSError) as error:
                if self._is_hung_up(error):
                    self._hung_up = True
                    packet = av.Packet()  # flushes the decoder, as at any other end
                    packet.stream, packet.time_base = self.stream, self.stream.time_base
                    return packet
                reason = _reason(error, self._timeout_s)
                if self._lacks_index(error):
                    reason = (
                        f"{reason}, or its server cannot give parts of a file, and this MP4 has its index at the end:"
                        " fetch the file first"
                    )
                raise SourceError(f"{self.name} broke off: {reason}") from None
            # FFmpeg that waited in vain gives the packet that it still held; to ask again would take as long again.
            waited_s = time.monotonic() - begun_s
            self._timed_out = self._timeout_s is not None and 0 <= waited_s - self._timeout_s < _GIVEN_UP_WITHIN_S
            return packet

    def _is_endless(self) -> bool:
        """Whether it has no known end."""
        length, kind = self.container.duration, self.container.format.name
        if length is None or self.container.size > 0:
            return length is None
        # Without a length in its header, an FLV is 0 long, and an MP4 as long as the first fragments.
        return length == 0 or (kind.startswith("mov,") and not self.stream.frames)

    def _is_hung_up(self, error: Exception) -> bool:
        """Whether this only means that the server has closed the connection, which may be the end of the video.

        Over HTTP, FFmpeg says so of everything without a length.
        """
        without_length = self.live or self.container.size <= 0
        return "://" in self._address and bool(self._ends_s) and without_length and _is_io_error(error)

    def _lacks_index(self, error: Exception) -> bool:
        """Whether this may be why nothing could be read of an MP4 at an address."""
        is_mp4 = self.container.format.name.startswith("mov,")
        return is_mp4 and "://" in self._address and not self._ends_s and _is_io_error(error)

    def _note_end(self, packet: Any) -> None:
        if packet.pts is not None:
            end_s = float((packet.pts + (packet.duration or 0)) * packet.time_base)
            self._ends_s[packet.stream_index] = max(end_s, self._ends_s.get(packet.stream_index, end_s))
        if packet.stream.index == self.stream.index and packet.pos is not None:
            self._end_byte = max(self._end_byte, packet.pos + packet.size)

    def _missing_bytes(self) -> int:
        """By how much an MP4 file is shorter than its index says."""
        file = Path(self._address.removeprefix("file:"))
        if not self.container.format.name.startswith("mov,") or not (self._hung_up or file.is_file()):
            return 0
        end = max((packet.pos + packet.size for packet in self.stream.index_entries), default=0)
        return max(0, end - (self._end_byte if self._hung_up else file.stat().st_size))

    def _extent(self, last_time_s: float) -> tuple[float, float]:
        """The length of the video according to the header, and how far its packets reached, in seconds.

        Packets may have very different durations, such as the last one of a slide show, so their ends count.
        """
        stream, base = self.stream, self.stream.time_base or 0
        end_s = self._ends_s.get(stream.index, 0.0) - float((stream.start_time or 0) * base)
        reached_s = max(last_time_s, end_s)
        kind = self.container.format.name
        if kind == "avi" and stream.frames and stream.average_rate:
            # FFmpeg shortens an AVI's durations to the actual length of the file, but not its number of frames.
            return float(stream.frames / stream.average_rate), reached_s
        if stream.duration is not None and kind not in _ONE_LENGTH:
            return float(stream.duration * base), reached_s
        # The length of the whole file is that of its longest stream, even sound. FLV counts it from the first packet.
        start_s = (self.container.start_time or 0) / av.time_base if kind == "flv" else 0.0
        reached_s = max([reached_s, *(end_s - start_s for end_s in self._ends_s.values())])
        return (self.container.duration or 0) / av.time_base, reached_s


class FrameTimes:
    """Capture times of the frames of a video: seconds since the first one; Unix time for a live one.

    If recordings were joined end to end, as MPEG-TS allows, time stamps start over in the middle; these times continue.

    Attributes:
        last_s: the time of the newest frame; 0 before the first.
    """

    def __init__(self, video: VideoInput) -> None:
        self._live = video.live
        self._interval_s = 1 / (video.fps or 25.0)
        self._start_s: float | None = None
        self._begun = False
        self._clock = video.clock
        self.last_s = 0.0

    def next(self, stamp_s: float | None) -> float:
        """The time of the next frame from its time stamp in the container, if any; earlier only if out of order."""
        if self._live:
            self.last_s = self._clock()
        elif stamp_s is None:
            self.last_s += self._interval_s if self._begun else 0.0
        else:
            if self._start_s is None:
                self._start_s = stamp_s
            elif self.last_s - (stamp_s - self._start_s) > _MOST_REORDERED * self._interval_s:
                self._start_s = stamp_s - (self.last_s + self._interval_s)
            self.last_s = stamp_s - self._start_s
        self._begun = True
        return self.last_s


def _video_stream(container: Any, name: str) -> Any:
    videos = [each for each in container.streams.video if not each.disposition & Disposition.attached_pic]
    if not videos:
        raise NoVideoError(f"{name} holds no video; give a video file, a camera or a network stream")
    if videos[0].codec_context is None:
        raise SourceError(f"{name} holds a video that this build of FFmpeg cannot decode; convert it, e.g. to H.264")
    if container.format.name in _SEGMENTED:
        return max(videos, key=lambda each: (each.width or 0) * (each.height or 0) if each.codec_context else 0)
    return videos[0]


def _reason(error: Exception, timeout_s: float | None, waited_s: float = 0.0, opened: str = "") -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file or device; check the name"
    # Of a silent RTSP camera, FFmpeg says that its data are invalid.
    if timeout_s is not None and (isinstance(error, av.error.ExitError) or waited_s >= timeout_s):
        return _nothing_came(timeout_s)
    if isinstance(error, InvalidDataError) or (timeout_s is None and isinstance(error, av.error.EOFError)):
        return "it is not a video that FFmpeg can read, or it is empty or cut off"
    if isinstance(error, av.error.ProtocolNotFoundError):
        return "this build of FFmpeg has no such protocol; let the camera or a relay give rtsp:// or http://"
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):  # of RTSP too
        return f"{reason_of(error)}; check the user name and password in the address"
    is_unknown = "://" in opened and _is_io_error(error)
    guess = ", perhaps an unknown host name" if is_unknown else ""
    if is_unknown and _TLS_URL.match(opened):
        guess += " or, with tls_verify=1, a certificate that is not trusted"
    return f"{reason_of(error)}{guess}; check the address and that the source is there"


def _is_io_error(error: Exception) -> bool:
    return getattr(error, "errno", 0) == errno.EIO


def _nothing_came(timeout_s: float | None) -> str:
    return f"nothing came for {timeout_s:g} s; check the address and that the camera is on"
