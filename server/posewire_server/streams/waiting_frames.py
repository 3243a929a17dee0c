"""The frames of one stream that wait: encoded ones to be decoded, then decoded ones for the networks.

Nothing here refers to the `Intake`: without a reference cycle, its decoder is freed when the stream ends.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from posewire_models.frames import Frame
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import VIDEO_CODECS, FrameDecoder
from posewire_server.streams.inbox import DropPolicy, DropReason, Inbox
from posewire_server.streams.outbox import FrameId, Outbox
from posewire_server.tracking import Boxes
from posewire_server.wire.requests import StreamSettings

__all__ = ["EncodedFrame", "ReadyFrame", "encoded_inbox", "ready_inbox"]

# After a hiccup of the network, or when a camera is opened, many units of a live video arrive at once. They are decoded
# sooner than they were recorded, so they may wait, unless decoding falls behind by this much. Under steady overload,
# results are late by about as much; and the 32 frames that a client has in flight must suffice for it: else it would
# not be reached, while many more wait at the client.
_LONGEST_BACKLOG_S = 0.5


@dataclass(frozen=True, eq=False)
class EncodedFrame:
    """A frame as it arrived; what it shares with a `ReadyFrame` is described there.

    Attributes:
        key: with which the decoder names it.
        data: encoded.
        has_failed: whether it was answered for already: a faulty video unit is decoded nevertheless, since others build
            on it.
    """

    key: int
    frame_id: FrameId
    data: bytes
    boxes: Boxes | None
    has_failed: bool
    arrived_s: float
    moment_s: float | None
    elapsed: float | None


@dataclass(frozen=True, eq=False)
class ReadyFrame:
    """A frame that waits for the networks.

    Attributes:
        frame_id: the client's number and capture time.
        frame: the decoded frame.
        boxes: given by the caller, if any.
        arrived_s: when its request arrived, on the clock of `time.monotonic`.
        queue_ms: how long it waited to be decoded.
        decode_ms: how long decoding took.
        moment_s: its time by the stream's clock.
        elapsed: time since the previous frame, if the client sent it.
    """

    frame_id: FrameId
    frame: Frame
    boxes: Boxes | None
    arrived_s: float
    queue_ms: float
    decode_ms: float
    moment_s: float | None = None
    elapsed: float | None = None


def encoded_inbox(
    settings: StreamSettings, limits: LimitsConfig, decoder: FrameDecoder, outbox: Outbox
) -> Inbox[EncodedFrame]:
    """For frames that wait to be decoded."""

    def drop(item: EncodedFrame, reason: DropReason) -> None:
        if not item.has_failed:
            outbox.dropped(item.frame_id, reason)

    is_video = settings.codec in VIDEO_CODECS
    return Inbox(
        capacity=1 if settings.drop_policy is DropPolicy.LATEST and not is_video else limits.max_inbox,
        policy=settings.drop_policy,
        on_drop=drop,
        max_age_s=None if is_video else settings.max_age_ms / 1e3 or None,
        can_start=(lambda item: decoder.starts_here(item.data)) if is_video else None,
        is_full=_falls_behind(settings, limits) if is_video and settings.drop_policy is DropPolicy.LATEST else None,
    )


def _falls_behind(
    settings: StreamSettings, limits: LimitsConfig
) -> Callable[[Sequence[EncodedFrame], EncodedFrame], bool]:
    """Whether units of a live video wait for too long, or are too large together."""
    most_bytes = limits.max_inbox * limits.max_frame_bytes
    # Those that waited for longer would be decoded only to be dropped as too old, one after another.
    max_age_s = settings.max_age_ms / 1e3 or math.inf

    def falls_behind(waiting: Sequence[EncodedFrame], newcomer: EncodedFrame) -> bool:
        if not waiting:
            return False
        backlog_s = newcomer.arrived_s - waiting[0].arrived_s
        if backlog_s > _LONGEST_BACKLOG_S or (backlog_s > max_age_s and len(waiting) >= limits.max_inbox):
            return True
        return sum(len(each.data) for each in (*waiting, newcomer)) > most_bytes

    return falls_behind


def ready_inbox(settings: StreamSettings, permits: asyncio.Semaphore, outbox: Outbox) -> Inbox[ReadyFrame]:
    """For decoded frames. Pictures are limited by `permits`, so none of them is ever superseded here."""

    def drop(item: ReadyFrame, reason: DropReason) -> None:
        outbox.dropped(item.frame_id, reason)
        permits.release()

    return Inbox(
        capacity=1 if settings.codec in VIDEO_CODECS else 2,
        policy=settings.drop_policy,
        on_drop=drop,
        max_age_s=settings.max_age_ms / 1e3 or None,
    )
