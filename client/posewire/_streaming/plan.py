"""The plan of a stream, and the settings that follow from it."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace

from posewire.connection import Reconnected, ReconnectSettings
from posewire.errors import InvalidSettings, SourceError
from posewire.results import StreamInfo
from posewire.resume import ResumePoint
from posewire.settings import PACKET_CODECS, Codec, StreamSettings
from posewire.sources import AsyncSourceLike, Source

__all__ = ["StreamPlan", "final_settings", "settings_to_ask_again"]


@dataclass(frozen=True)
class StreamPlan:
    """How to open and run a stream.

    Attributes:
        source: of the frames; None: the program sends them.
        settings: as requested.
        max_frames: maximum number of frames to take from the source.
        reopen_for_s: how long to try to open a live source again that has stopped.
        source_options: of FFmpeg's input.
        keep_images: whether results carry their frames.
        resume: where an earlier stream is resumed.
        timeout_s: longest silence of the server while it owes an answer.
        reconnect: how a lost stream is resumed; None: it is not.
        on_reconnect: called after each reconnection.

    Raises:
        InvalidSettings: `max_frames`, `reopen_for_s` or `source_options` is given without a source, `resume` is not a
            `ResumePoint`, or `on_reconnect` is not a plain function.
    """

    source: AsyncSourceLike | None
    settings: StreamSettings
    max_frames: int | None
    reopen_for_s: float
    source_options: dict[str, str] | None
    keep_images: bool
    resume: ResumePoint | None
    timeout_s: float
    reconnect: ReconnectSettings | None
    on_reconnect: Callable[[Reconnected], object] | None

    def __post_init__(self) -> None:
        if self.source is None and self.max_frames is not None:
            raise InvalidSettings("max_frames limits a source, and this stream has none; call finish() after the last")
        if self.source is None and self.reopen_for_s:
            raise InvalidSettings("reopen_for_s is for a live source, and this stream has none; leave it out")
        if self.source is None and self.source_options:
            raise InvalidSettings("source_options are for a source, and this stream has none; leave them out")
        if self.resume is not None and not isinstance(self.resume, ResumePoint):
            raise InvalidSettings(
                f"resume is a {type(self.resume).__name__}; give a ResumePoint: the resume_point of a stream, or the "
                "resume of the error that ended it"
            )
        if self.on_reconnect is None:
            return
        if not callable(self.on_reconnect) or inspect.iscoroutinefunction(self.on_reconnect):
            raise InvalidSettings(
                f"on_reconnect is {self.on_reconnect!r}; give a function that is called without being awaited: it may"
                " start a task"
            )


def final_settings(plan: StreamPlan, source: Source | None) -> StreamSettings:
    """The settings to send, with those that depend on the source resolved."""
    settings = plan.settings
    codec: Codec = settings.codec
    if codec == "passthrough":
        codec = "jpeg" if source is None or source.codec is None else _packet_codec(source.codec)
    if source is not None and source.codec != (codec if codec in PACKET_CODECS else None):
        what = f"{source.codec} packets" if source.codec else "pictures"
        raise SourceError(f"{source.name} gives {what}, which cannot be sent as {codec}; open it with codec={codec!r}")
    if codec in PACKET_CODECS and plan.keep_images:
        raise InvalidSettings("packets are not decoded here, so no images can be kept; use codec='jpeg'")
    raw_size = settings.raw_size
    if codec == "raw" and raw_size is None:
        raw_size = source.size if source is not None else None
        if raw_size is None:
            raise InvalidSettings("raw frames need their size: give raw_size=(width, height)")
    policy = settings.drop_policy or ("latest" if source is not None and source.live else "all")
    return replace(settings, codec=codec, raw_size=raw_size, drop_policy=policy)


def settings_to_ask_again(asked: StreamSettings, told: StreamInfo) -> StreamSettings:
    """The settings to request from the next server: those of the first request, with what that server decided on.

    So the stream keeps its joints and tracker settings if servers have different defaults. Only `max_people` stays as
    requested: each server has its own limit.
    """
    tracker = replace(told.settings.tracker, max_people=asked.tracker.max_people)
    return replace(asked, joint_set=told.joint_set.name, tracker=tracker)


def _packet_codec(name: str) -> Codec:
    return "h264" if name == "h264" else "h265"
