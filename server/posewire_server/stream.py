"""One Track stream: read, decode and process overlap, and every frame is answered for.

    read ──▶ encoded inbox ──▶ decode (threads) ──▶ decoded inbox ──▶ process ──▶ outbox

Frame k+1 is decoded while frame k is in the networks. Under DROP_POLICY_LATEST a picture is taken from the inbox as
late as that allows, when the last stage of the frame before it begins, so that it is as fresh as it can be; video units
are decoded as they come, since each builds on those before it, and of the decoded frames the newest wins.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass

from posewire.v1 import pose_pb2, track_pb2
from posewire_models.frames import Frame
from posewire_server.config import LimitsConfig
from posewire_server.decoding import VIDEO_CODECS, Decoded, FrameDecoder, PictureDecoder
from posewire_server.drain import DrainSignal
from posewire_server.errors import BadNumber, FrameError, InvalidRequest, OutOfOrder, PictureTooLarge
from posewire_server.inbox import DropPolicy, DropReason, Inbox
from posewire_server.outbox import FrameId, Outbox
from posewire_server.pipeline import Pipeline, Tracked
from posewire_server.session import Session
from posewire_server.tracking import Boxes
from posewire_server.video_decoding import VideoDecoder
from posewire_server.wire.requests import StreamSettings, boxes_from
from posewire_server.wire.responses import people_messages, timings_message

__all__ = ["StreamContext", "TrackStream"]

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class StreamContext:
    """What streams share.

    Attributes:
        pipeline: the networks.
        decoders: threads that decode.
        limits: what is accepted.
        drain: set when the server is about to stop.
    """

    pipeline: Pipeline
    decoders: Executor
    limits: LimitsConfig
    drain: DrainSignal


@dataclass(frozen=True, eq=False)
class _Encoded:
    """A frame as it came. `fault`: what is wrong with it, where it must be decoded nevertheless."""

    key: int
    frame_id: FrameId
    data: bytes
    boxes: Boxes | None
    fault: FrameError | None
    arrived_s: float


@dataclass(frozen=True, eq=False)
class _Ready:
    """A frame that waits for the networks."""

    frame_id: FrameId
    frame: Frame
    boxes: Boxes | None
    arrived_s: float
    queue_ms: float
    decode_ms: float


class TrackStream:
    """The handler of one stream, from its first frame to its summary.

    Args:
        session: the stream's state.
        settings: what the client chose.
        context: what streams share.
        read: the next request; None after the client's half-close.
        outbox: to the client.
    """

    def __init__(
        self,
        session: Session,
        settings: StreamSettings,
        context: StreamContext,
        read: Callable[[], Awaitable[track_pb2.TrackRequest | None]],
        outbox: Outbox,
    ) -> None:
        self._session = session
        self._settings = settings
        self._context = context
        self._read_request = read
        self._outbox = outbox
        self._is_video = settings.codec in VIDEO_CODECS
        self._decoder = _decoder(settings, context.limits)
        self._encoded, self._decoded = self._make_inboxes()
        self._in_decoder: dict[int, tuple[_Encoded, float]] = {}
        self._last_number: int | None = None
        # Pictures that may be between the two inboxes and the last stage.
        latest = settings.drop_policy is DropPolicy.LATEST
        self._permits = asyncio.Semaphore(1 if latest else 2)
        self._permit_held = False

    async def run(self) -> None:
        """Answer for every frame until the client half-closes or the server drains, then send the summary.

        Raises:
            ServiceError: the client broke the order of messages, or something that it needs is missing.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                reader = tasks.create_task(self._read())
                decoder = tasks.create_task(self._decode())
                watchers = [
                    tasks.create_task(self._drain_when_told()),
                    tasks.create_task(self._outbox.report_drops()),
                ]
                await self._process()
                self._permits.release()  # drained: the decoder may be waiting for one
                await decoder
                if self._context.drain:
                    await self._say_goodbye(reader)
                for watcher in watchers:
                    watcher.cancel()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # they are of one cause, or each is enough to end the stream
        await self._outbox.summary(self._session.tracker.identities)
        if self._outbox.accounts.open:
            log.error("%d frames were not answered for", self._outbox.accounts.open)

    # -- reading -------------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        key = 0
        while (request := await self._read_request()) is not None:
            kind = request.WhichOneof("request")
            if kind == "config":
                raise OutOfOrder(
                    "a second configuration came; a stream has one, as its first request: open another stream",
                    field="config",
                )
            if kind is None:
                raise InvalidRequest("the request is empty; send a frame, or half-close the stream", field="request")
            await self._receive(key, request.frame)
            key += 1
            await self._outbox.caught_up()
        await self._encoded.close()

    async def _receive(self, key: int, frame: track_pb2.Frame) -> None:
        arrived_s = time.monotonic()
        self._outbox.accounts.received += 1
        frame_id = FrameId(frame.number, frame.capture_time)
        data, boxes, fault = frame.data, None, None
        try:
            self._check_number(frame.number)
            if frame.HasField("boxes"):
                boxes = boxes_from(frame.boxes, self._context.limits)
            if len(data) > self._context.limits.max_frame_bytes:
                data = b""
                raise PictureTooLarge(
                    f"the frame has {len(frame.data)} bytes; this server accepts "
                    f"{self._context.limits.max_frame_bytes} (limits.max_frame_bytes): compress it more"
                )
        except FrameError as error:
            if not self._is_video:
                await self._outbox.failed(frame_id, error)
                return
            fault = error
        await self._encoded.put(_Encoded(key, frame_id, data, boxes, fault, arrived_s))

    def _check_number(self, number: int) -> None:
        if self._last_number is not None and number <= self._last_number:
            raise BadNumber(f"frame number {number} came after {self._last_number}; numbers must increase")
        self._last_number = number

    # -- decoding ------------------------------------------------------------------------------------------------------

    async def _decode(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            if not self._is_video:
                await self._permits.acquire()
            item = await self._encoded.get()
            if item is None:
                break
            self._in_decoder[item.key] = item, (time.monotonic() - item.arrived_s) * 1e3
            with self._context.pipeline.approaching(self._session.stream_id):
                outcomes, ran_ms = await loop.run_in_executor(self._context.decoders, self._feed, item.key, item.data)
                await self._pass_on(outcomes, ran_ms)
        await self._pass_on(await loop.run_in_executor(self._context.decoders, self._decoder.flush), 0.0)
        await self._decoded.close()

    def _feed(self, key: int, data: bytes) -> tuple[list[Decoded], float]:
        """On a decoding thread."""
        start = time.perf_counter()
        outcomes = self._decoder.feed(key, data)
        return outcomes, (time.perf_counter() - start) * 1e3

    async def _pass_on(self, outcomes: list[Decoded], decode_ms: float) -> None:
        for decoded in outcomes:
            item, queue_ms = self._in_decoder.pop(decoded.key)
            if item.fault is not None:
                await self._outbox.failed(item.frame_id, item.fault)
            elif isinstance(decoded.outcome, FrameError):
                await self._outbox.failed(item.frame_id, decoded.outcome)
            else:
                frame = Frame(decoded.outcome)
                await self._decoded.put(_Ready(item.frame_id, frame, item.boxes, item.arrived_s, queue_ms, decode_ms))
                continue
            self._permits.release()

    # -- processing ----------------------------------------------------------------------------------------------------

    async def _process(self) -> None:
        while (ready := await self._decoded.get()) is not None:
            self._permit_held = True
            try:
                tracked = await self._context.pipeline.process(
                    self._session, ready.frame, ready.boxes, nearly_done=self._next_may_be_decoded
                )
            except FrameError as error:
                await self._outbox.failed(ready.frame_id, error)
            else:
                await self._outbox.tracked(self._tracked_message(ready, tracked))
            finally:
                self._next_may_be_decoded()

    def _next_may_be_decoded(self) -> None:
        if self._permit_held:
            self._permit_held = False
            self._permits.release()

    def _tracked_message(self, ready: _Ready, tracked: Tracked) -> track_pb2.TrackedFrame:
        height, width = ready.frame.size
        people = people_messages(tracked.people, self._context.pipeline.networks.joint_set, self._settings.joint_set)
        total_ms = (time.monotonic() - ready.arrived_s) * 1e3
        return track_pb2.TrackedFrame(
            number=ready.frame_id.number,
            capture_time=ready.frame_id.capture_time,
            size=pose_pb2.FrameSize(width=width, height=height),
            people=people,
            timings=timings_message(
                tracked.times, queue_ms=ready.queue_ms, decode_ms=ready.decode_ms, total_ms=total_ms
            ),
            detect_every=tracked.detect_every,
            detector_ran=tracked.detector_ran,
        )

    # -- draining ------------------------------------------------------------------------------------------------------

    async def _drain_when_told(self) -> None:
        await self._context.drain.wait()
        await self._encoded.drain()
        await self._decoded.drain()

    async def _say_goodbye(self, reader: asyncio.Task[None]) -> None:
        """The frame in work is finished. Tell the client, and answer for what it still sends until it half-closes."""
        remaining_s = self._context.drain.remaining_s
        await self._outbox.drain(remaining_s, b"")
        # A quarter of the grace is left for the summary to go out.
        await asyncio.wait({reader}, timeout=remaining_s * 0.75)
        reader.cancel()

    def _make_inboxes(self) -> tuple[Inbox[_Encoded], Inbox[_Ready]]:
        policy, limits = self._settings.drop_policy, self._context.limits
        max_age_s = self._settings.max_age_ms / 1e3 or None
        latest = policy is DropPolicy.LATEST
        encoded = Inbox[_Encoded](
            capacity=1 if latest and not self._is_video else limits.max_inbox,
            policy=policy,
            on_drop=lambda item, reason: self._outbox.dropped(item.frame_id, reason),
            max_age_s=None if self._is_video else max_age_s,
            can_start=(lambda item: self._decoder.starts_here(item.data)) if self._is_video else None,
        )

        def drop_ready(item: _Ready, reason: DropReason) -> None:
            self._outbox.dropped(item.frame_id, reason)
            self._permits.release()

        # Pictures are held back by their permits, so none is ever superseded here.
        decoded = Inbox[_Ready](
            capacity=1 if self._is_video else 2, policy=policy, on_drop=drop_ready, max_age_s=max_age_s
        )
        return encoded, decoded


def _decoder(settings: StreamSettings, limits: LimitsConfig) -> FrameDecoder:
    if settings.codec in VIDEO_CODECS:
        return VideoDecoder(settings.codec, limits)
    return PictureDecoder(settings.codec, settings.raw_size, limits)
