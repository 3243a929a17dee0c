"""From the requests of one stream to decoded frames that wait for the networks.

    read ──▶ encoded inbox ──▶ decode (threads) ──▶ ready inbox

Under DROP_POLICY_LATEST a picture is taken from the encoded inbox as late as possible, when the last stage of the
previous frame begins: it is then as fresh as it can be, but still decoded in time. Video units are decoded as they
arrive, since each depends on those before it, and the newest decoded frame wins.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AbstractContextManager, suppress
from functools import partial
from typing import TypeAlias

from posewire.v1 import track_pb2
from posewire_models.frames import Frame
from posewire_server.admission.decoding_shares import DecodingShare
from posewire_server.admission.rates import RateLimit
from posewire_server.admission.reading_pace import ReadingPace
from posewire_server.admission.turns import Step, Turn
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import VIDEO_CODECS, Decoded
from posewire_server.decoding.decoding import Decoding
from posewire_server.errors import BadElapsed, BadNumber, FrameError, InvalidRequest, OutOfOrder, PictureTooLarge
from posewire_server.streams.frame_clock import FrameClock
from posewire_server.streams.inbox import DropPolicy, DropReason
from posewire_server.streams.outbox import FrameId, Outbox
from posewire_server.streams.waiting_frames import EncodedFrame, ReadyFrame, encoded_inbox, ready_inbox
from posewire_server.tracking import MOST_ELAPSED
from posewire_server.wire.requests import StreamSettings, boxes_from, captured_s

__all__ = ["Intake"]

_Outcome: TypeAlias = tuple[int, Frame | FrameError]  # the key passed to the decoder, and the result


class Intake:
    """Reads and decodes the frames of one stream, and reports frames that fail or are dropped.

    Args:
        settings: what the client chose.
        limits: what the server accepts.
        read: the next request; None after the client's half-close.
        share: of the decoding threads.
        outbox: for frames that fail or are dropped.
        announce: context entered while a frame is being decoded, see `Pipeline.approaching`.
        clock: of the stream.
        allowance: how many frames a second the client may send over all of its streams; None: unlimited.
        decoding: the decoders to use.
        turn: waits until the next frame may be decoded, while other streams go first.
        reading_fps: how many frames a second to read at present.

    Attributes:
        ready: the decoded frames.
    """

    def __init__(
        self,
        settings: StreamSettings,
        limits: LimitsConfig,
        read: Callable[[], Awaitable[track_pb2.TrackRequest | None]],
        share: DecodingShare,
        outbox: Outbox,
        announce: Callable[[], AbstractContextManager[None]],
        clock: FrameClock,
        allowance: RateLimit | None,
        decoding: Decoding,
        turn: Turn,
        reading_fps: Callable[[], float],
    ) -> None:
        self._decoding = decoding
        self._limits = limits
        self._read_request = read
        self._share = share
        self._outbox = outbox
        self._announce = announce
        self._clock = clock
        self._allowance = allowance
        self._turn = turn
        self._decoder = decoding.decoder(settings.codec, settings.raw_size, limits)
        self._in_decoder: dict[int, tuple[EncodedFrame, float]] = {}  # by key; with the time that each waited, in ms
        self._last_number: int | None = None
        self._waiting: set[asyncio.Timeout] = set()  # for turns
        self._is_draining = False
        self._is_live = settings.drop_policy is DropPolicy.LATEST
        self._is_video = settings.codec in VIDEO_CODECS
        # If a video unit is dropped, later ones cannot be decoded, so a video stream is slowed down instead.
        self._drops_beyond_allowance = self._is_live and not self._is_video
        # Under ALL, the waiting frames hold back a client that sends too many.
        self._pace = ReadingPace(
            outbox,
            limits.max_fps if self._is_live else math.inf,
            is_video=self._is_video,
            # A video unit that is read late makes all later ones late.
            most_now_per_s=reading_fps if self._is_live and not self._is_video else lambda: math.inf,
        )
        # Limits the pictures that are decoded or in the networks, but not in the last stage yet.
        self._permits = asyncio.Semaphore(1 if self._is_live else 2)
        self._encoded = encoded_inbox(settings, limits, self._decoder, outbox)
        self.ready = ready_inbox(settings, self._permits, outbox)

    @property
    def held_back(self) -> int:
        """How many frames had to wait until there was room for them, under DROP_POLICY_ALL."""
        return self._encoded.held_back

    @property
    def next_waits(self) -> bool:
        """Whether the next frame of a live stream (DROP_POLICY_LATEST) has already arrived.

        If it has whenever a frame is done, every frame is late. Under DROP_POLICY_ALL this is always False.
        """
        return self._is_live and len(self._encoded) + len(self.ready) > 0

    def next_may_be_decoded(self) -> None:
        """The frame that was taken from `ready` is nearly done, or failed. Call it once for each."""
        self._permits.release()

    async def read(self) -> None:
        """Take requests until the client half-closes.

        Raises:
            OutOfOrder, InvalidRequest: a request is not a frame.
        """
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
            await self._pace.turn()
            await self._allowed()  # a frame that waits for this does not count as received yet
            await self._receive(key, request.frame)
            key += 1
        self._encoded.close()

    async def decode(self) -> None:
        """Decode frames until there are no more."""
        while True:
            if self._is_video:
                await self.ready.until_room()  # else batches would wait for a frame that cannot reach them yet
            else:
                await self._permits.acquire()
                await self._in_turn(partial(self._turn, Step.DECODE))
            item = await self._encoded.get()
            if item is None:
                break
            if not item.has_failed:
                self._in_decoder[item.key] = item, (time.monotonic() - item.arrived_s) * 1e3
            with self._announce():
                # A stream that is broken off keeps its place until then: else its successors would pile up in front of
                # the threads.
                outcomes, ran_ms = await self._share.run_to_end(partial(self._feed, item.key, item.data))
                # A decoder may keep frames for long, until more units arrive, as it does with B-frames.
                self._outbox.accounts.in_decoder = len(self._in_decoder) - len(outcomes)
                await self._pass_on(outcomes, ran_ms)
        self._outbox.accounts.in_decoder = 0
        await self._pass_on(await self._share.run_to_end(self._flush), 0.0)
        self.ready.close()

    def drain(self) -> None:
        """Drop waiting frames and all that still arrive."""
        self._is_draining = True
        for waiting in self._waiting:
            waiting.reschedule(0.0)  # in the past: it ends at once
        self._encoded.drain()
        self.ready.drain()

    async def _allowed(self) -> None:
        """If frames beyond the allowance are not dropped, wait until the next one is within it."""
        if self._allowance is not None and not self._drops_beyond_allowance:
            await self._in_turn(self._allowance.turn)

    async def _in_turn(self, turn: Callable[[], Awaitable[None]]) -> None:
        """Wait for a turn. A draining stream does not, since it only reports the remaining frames as dropped."""
        if self._is_draining:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(None) as waiting:
                self._waiting.add(waiting)
                try:
                    await turn()
                finally:
                    self._waiting.remove(waiting)

    async def _receive(self, key: int, frame: track_pb2.Frame) -> None:
        arrived_s = time.monotonic()
        self._outbox.accounts.received += 1
        frame_id = FrameId(frame.number, frame.capture_time if frame.HasField("capture_time") else None)
        data, boxes, has_failed, moment_s, elapsed = frame.data, None, False, None, None
        try:
            self._check_number(frame.number)
            moment_s = self._clock.received(captured_s(frame), arrived_s)  # not of a frame that comes a second time
            elapsed = _elapsed(frame)
            if frame.HasField("boxes"):
                boxes = boxes_from(frame.boxes, self._limits)
            if len(data) > self._limits.max_frame_bytes:
                data = b""
                raise PictureTooLarge(
                    f"the frame has {len(frame.data)} bytes; this server accepts {self._limits.max_frame_bytes} "
                    "(limits.max_frame_bytes): compress it more"
                )
        except FrameError as error:
            self._pace.note(good=False)
            await self._outbox.failed(frame_id, error)
            if not self._is_video:
                return
            has_failed = True
        if self._allowance is not None and self._drops_beyond_allowance and not self._allowance.take():
            self._outbox.dropped(frame_id, DropReason.OVER_RATE)
            return
        await self._encoded.put(EncodedFrame(key, frame_id, data, boxes, has_failed, arrived_s, moment_s, elapsed))

    def _check_number(self, number: int) -> None:
        if self._last_number is not None and number <= self._last_number:
            raise BadNumber(f"frame number {number} came after {self._last_number}; numbers must increase")
        self._last_number = number

    def _feed(self, key: int, data: bytes) -> tuple[list[_Outcome], float]:
        """On a decoding thread."""
        start = time.perf_counter()
        outcomes = self._made_ready(self._decoder.feed(key, data))
        return outcomes, (time.perf_counter() - start) * 1e3

    def _flush(self) -> list[_Outcome]:
        """On a decoding thread."""
        return self._made_ready(self._decoder.flush())

    def _made_ready(self, decoded: Iterable[Decoded]) -> list[_Outcome]:
        """The outcomes of frames that have not failed yet."""
        outcomes = [(each.key, each.outcome) for each in decoded if each.key in self._in_decoder]
        return [(key, made if isinstance(made, FrameError) else self._decoding.frame(made)) for key, made in outcomes]

    async def _pass_on(self, outcomes: list[_Outcome], decode_ms: float) -> None:
        for key, outcome in outcomes:
            item, queue_ms = self._in_decoder.pop(key)
            self._pace.note(good=not isinstance(outcome, FrameError), decoded_s=decode_ms / 1e3)
            if isinstance(outcome, FrameError):
                self._permits.release()
                await self._outbox.failed(item.frame_id, outcome)
            else:
                await self.ready.put(
                    ReadyFrame(
                        frame_id=item.frame_id,
                        frame=outcome,
                        boxes=item.boxes,
                        arrived_s=item.arrived_s,
                        queue_ms=queue_ms,
                        decode_ms=decode_ms,
                        moment_s=item.moment_s,
                        elapsed=item.elapsed,
                    )
                )


def _elapsed(frame: track_pb2.Frame) -> float | None:
    """The time since the previous frame, if the client sent it."""
    if not frame.HasField("elapsed"):
        return None
    if not 0.0 < frame.elapsed <= MOST_ELAPSED:
        raise BadElapsed(f"elapsed is {frame.elapsed:g}; it must lie in 0..{MOST_ELAPSED:g}, above 0, or be left out")
    return frame.elapsed
