"""Opens a source of the right kind."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import AsyncIterable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TypeAlias, get_args

from posewire._inputs import is_number, is_whole
from posewire.errors import InvalidSettings, SourceError
from posewire.os_errors import reason_of
from posewire.results import Image
from posewire.settings import PACKET_CODECS, PICTURE_CODECS, Codec, check_choice
from posewire.sources._arrays import ArraySource
from posewire.sources._container import NoVideoError, VideoInput
from posewire.sources._folder import FolderSource
from posewire.sources._frames import Source, SourceFrame, is_source, missing_of_source, steady_clock
from posewire.sources._packets import PacketSource, UnsendableError
from posewire.sources._reopened import ReopenedSource
from posewire.sources._video import VideoSource

__all__ = ["AsyncSourceLike", "SourceLike", "is_camera_number", "open_source"]

SourceLike: TypeAlias = str | Path | int | Source | Iterable[Image | SourceFrame]
"""What `Client.track` accepts."""
AsyncSourceLike: TypeAlias = SourceLike | AsyncIterable[Image | SourceFrame]
"""What `AsyncClient.track` and `open_source` accept."""

_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_LIVE_URL = re.compile(r"(rtsps?|rtmps?|rtp|udp|srt|tcp)://", re.IGNORECASE)
# Over UDP, lost packets corrupt pictures, so it is only for cameras that refuse TCP.
_TCP_FIRST = {"rtsp_transport": "tcp+udp", "rtsp_flags": "prefer_tcp"}
# To measure the frame rate, FFmpeg would wait for 20 frames or 5 s, and then give all of these at once, as if new.
_FEW_FRAMES = {"fpsprobesize": "3"}
_FLV_URL = re.compile(r"rtmp\w*://|https?://[^?#]*\.flv([?#]|$)", re.IGNORECASE)
# A live FLV announces sound even if it has none: FFmpeg would wait for it for 5 s or more, with the same effect.
_BRIEF_LOOK = {"analyzeduration": "300000"}
# Passwords may contain characters that end them for FFmpeg: if there may be one, everything up to the last @ is
# removed, to be safe. A host with a dot, or in brackets, is not a user, and digits after it are its port.
_CREDENTIALS = re.compile(
    r"(?<=://)(?!(\[[\da-f:.]+\]|[\w-]+(\.[\w-]+)+|localhost)(:\d{1,5})?[/?#])(.*:.*@|[^/?#]+@)", re.IGNORECASE
)
# Cheap cameras take them as parameters instead; those of a storage service are a signature.
_SECRET_PARAMETERS = re.compile(
    r"(?<=[?&])([^=&#]*(pass|pwd|psw|secret|token|key|auth|sig|credential)[^=&#]*=)[^&#]*", re.IGNORECASE
)


def open_source(
    source: AsyncSourceLike,
    *,
    codec: Codec = "jpeg",
    fps: float = 25.0,
    live: bool | None = None,
    max_frames: int | None = None,
    timeout_s: float = 10.0,
    reopen_for_s: float = 0.0,
    options: dict[str, str] | None = None,
) -> Source:
    """Open a video file, camera, network stream, folder of pictures, or frames from the program.

        source = posewire.open_source("walk.mp4")
        source = posewire.open_source(0, options={"video_size": "1280x720"})        # /dev/video0
        source = posewire.open_source("rtsp://camera.local/stream", reopen_for_s=600)
        source = posewire.open_source("pictures/", fps=10)
        source = posewire.open_source(np.zeros((720, 1280, 3), np.uint8) for _ in range(100))

    Args:
        source: a path; a camera's number (also as text, if no file has that name) or device; an address with `://`;
            a folder; an iterable of `(h, w, 3)` uint8 RGB arrays or `SourceFrame`s, which may be asynchronous; or a
            `Source`, which is returned.
        codec: `h264` or `h265`: its own packets; `passthrough`: packets if possible, else pictures; all others:
            pictures.
        fps: frame rate of folders and arrays.
        live: whether frames arrive in real time and cannot wait. None: true for cameras, RTSP and the like, and
            addresses without a known end. Live HLS and DASH are read in real time, by their time stamps.
        max_frames: stop after this many frames.
        timeout_s: longest wait for a camera or address: when it is opened, for the first picture, and for each frame.
            A pipe is waited for without limit, until a program writes to it.
        reopen_for_s: if a camera or live address stops, how long to try to open it again, with growing waits of up to
            five seconds, before that is an error; may be infinite. 0: it is an error at once. The log tells of it.
        options: of FFmpeg's input, such as `{"framerate": "30"}`. RTSP is read over TCP, or over UDP if the camera
            refuses TCP, unless they name a `rtsp_transport`; with `rtsp_flags` over TCP alone.

    Raises:
        SourceError: the source cannot be opened; the message names it and says why.
        InvalidSettings: a parameter is out of range.
    """
    check_choice("codec", codec, get_args(Codec))  # before the source is reported as having another one
    if max_frames is not None and not (is_whole(max_frames) and max_frames >= 1):
        raise InvalidSettings(f"max_frames is {max_frames!r}; it is a whole number from 1 on, or None for all")
    if not (is_number(timeout_s) and timeout_s > 0):
        raise InvalidSettings(f"timeout_s is {timeout_s!r}; it is a number above 0")
    if not (is_number(reopen_for_s) and reopen_for_s >= 0):
        raise InvalidSettings(f"reopen_for_s is {reopen_for_s!r}; it is a number from 0 on")
    options = {} if options is None else options
    _check_options(options)
    if isinstance(source, str) and not source:  # such as a variable that is not set; for the system, "." is meant
        raise SourceError("the source has no name; give a video file, a folder, a camera's number or an address")
    if not isinstance(source, str | Path | int):
        for name, given in (("reopen_for_s", reopen_for_s), ("options", options)):
            if given:
                raise InvalidSettings(
                    f"{name} has no effect on frames from the program, or on a source that is open; give it to"
                    " open_source with the camera's address"
                )
        return _from_program(source, codec, fps=fps, live=bool(live), max_frames=max_frames)
    location = _Location(source, fps, live, timeout_s, options)
    if not reopen_for_s:
        return location.open(codec, max_frames)
    first = location.open(codec)
    if not first.live:
        first.close()
        raise InvalidSettings(f"{first.name} is not live, so it is never opened again; leave out reopen_for_s")
    # With `passthrough`, another codec is noticed by `ReopenedSource`, which would try again if opening it failed.
    again = partial(replace(location, live=True, again=True).open, "jpeg" if first.codec is None else "passthrough")
    return ReopenedSource(first, again, reopen_for_s=reopen_for_s, max_frames=max_frames)


def _check_options(options: object) -> None:
    """Check that names and values are texts. The message has only a wrong one, since others may be passwords."""
    if not isinstance(options, Mapping):
        raise InvalidSettings(f"options is a {type(options).__name__}; give a dict, such as {{'framerate': '30'}}")
    for name, value in options.items():
        if not (isinstance(name, str) and isinstance(value, str)):
            raise InvalidSettings(
                f"the option {name!r} is {value!r}; names and values are texts: {{'framerate': '30'}}"
            )


def is_camera_number(source: str) -> bool:
    """Whether a text is a camera's number: ASCII digits, and not the name of a file."""
    return source.isascii() and source.isdecimal() and not Path(source).exists()


def _without_credentials(source: str | Path | int) -> str:
    """An address without credentials, for logs and result files."""
    return _SECRET_PARAMETERS.sub(r"\1", _CREDENTIALS.sub("", str(source)))


@dataclass(frozen=True)
class _Location:
    """Something that the system opens, perhaps more than once: a file, folder, device or address.

    The attributes are arguments of `open_source`, whether it was open before, and the clock of all its frames if it is
    live.
    """

    where: str | Path | int
    fps: float
    live: bool | None
    timeout_s: float
    options: dict[str, str]
    again: bool = False
    clock: Callable[[], float] = field(default_factory=steady_clock)

    def open(self, codec: Codec, max_frames: int | None = None) -> Source:
        try:
            return self._open(codec, max_frames)
        except OSError as error:  # a folder is not accessible, or the name is not a valid file name
            raise SourceError(
                f"{_without_credentials(self.where)} cannot be opened: {reason_of(error)};"
                " check the name, and the rights of its folders"
            ) from None  # its message contains the address with its password

    def _open(self, codec: Codec, max_frames: int | None) -> Source:
        where = self.where
        if isinstance(where, str) and is_camera_number(where):
            where = int(where)
        if isinstance(where, str | Path) and Path(where).is_dir():
            _refuse_packets(codec, str(where), "is a folder of pictures")
            return FolderSource(where, fps=self.fps, max_frames=max_frames)

        video = self._video(where)
        try:
            if self.again and video.has_ended:  # its last segments were read before
                raise SourceError(f"{video.name} has ended, and has nothing new")
            return _read_as(codec, video, max_frames)
        except BaseException:
            video.close()
            raise

    def _video(self, where: str | Path | int) -> VideoInput:
        live, timeout_s, options = self.live, self.timeout_s, self.options
        opened = partial(VideoInput, clock=self.clock)
        if isinstance(where, int) or str(where).startswith("/dev/video"):
            device = f"/dev/video{where}" if isinstance(where, int) else str(where)
            name = f"camera {device}"
            if not Path(device).exists():
                cameras = ", ".join(sorted(map(str, Path("/dev").glob("video*")))) or "none"
                raise SourceError(f"{name} does not exist; cameras of this machine: {cameras}")
            live = live is None or live
            return opened(device, name=name, live=live, format_name="v4l2", options=options, timeout_s=timeout_s)
        address = str(where)
        if _URL.match(address):
            name = _without_credentials(address)
            live = True if live is None and _LIVE_URL.match(address) else live
            if address.lower().startswith("rtsp"):
                transport = {"rtsp_transport": "tcp"} if "rtsp_flags" in options else _TCP_FIRST
                options = {**transport, **options}
            options = {**_FEW_FRAMES, **options}
            opened = partial(opened, address, name=name, live=live, timeout_s=timeout_s)
            if _FLV_URL.match(address):
                with contextlib.suppress(NoVideoError):  # perhaps it begins later
                    return opened(options={**_BRIEF_LOOK, **options})
            return opened(options=options)
        try:
            os.stat(address)  # not `exists`: from Python 3.14 on, it is false also for what may not be looked at
        except (FileNotFoundError, NotADirectoryError, ValueError):
            raise SourceError(
                f"{address} does not exist; give a video file, a folder, a camera's number or an address"
            ) from None
        # `file:` keeps FFmpeg from interpreting the name: colons, patterns such as %d, or `concat:`.
        longest_s = timeout_s if live else None
        return opened(f"file:{address}", name=address, live=bool(live), options=options, timeout_s=longest_s)


def _read_as(codec: Codec, video: VideoInput, max_frames: int | None) -> Source:
    if codec in PICTURE_CODECS:
        return VideoSource(video, max_frames=max_frames)
    try:
        packets = PacketSource(video, max_frames=max_frames)
    except UnsendableError:
        if codec != "passthrough":
            raise
        return VideoSource(video, max_frames=max_frames)
    if codec not in ("passthrough", packets.codec):
        raise SourceError(f"{packets.name} is {packets.codec}, not {codec}; use codec='{packets.codec}' or 'jpeg'")
    return packets


def _from_program(
    source: Source | Iterable[Image | SourceFrame] | AsyncIterable[Image | SourceFrame],
    codec: Codec,
    *,
    fps: float,
    live: bool,
    max_frames: int | None,
) -> Source:
    if is_source(source):
        if max_frames is not None:
            raise InvalidSettings("max_frames has no effect on a source that is open; give it to open_source")
        return source
    if missing := missing_of_source(source):
        raise SourceError(
            f"this {type(source).__name__} is not a complete source: it lacks {', '.join(missing)}; see posewire.Source"
            " for what it needs"
        )
    if not isinstance(source, Iterable | AsyncIterable):
        raise SourceError(
            f"{source!r} is no source; give a path, a camera's number, an address, or an iterable of arrays"
        )
    _refuse_packets(codec, "this source", "gives pictures")
    return ArraySource(source, fps=fps, live=live, max_frames=max_frames)


def _refuse_packets(codec: Codec, name: str, what: str) -> None:
    if codec in PACKET_CODECS:
        raise SourceError(f"{name} {what} and holds no {codec} packets; use codec='jpeg', 'png' or 'raw'")
