"""Reads the frames of a source, and encodes and sends each frame of a stream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from functools import partial

from posewire._encoding import encode
from posewire._inputs import boxes_array, capture_time, frame_number
from posewire._streaming.exchange import Exchange
from posewire._streaming.feed import FeedItem, SourceFeed
from posewire._threads.workers import Workers
from posewire.errors import InvalidSettings
from posewire.results import FrameStatus
from posewire.sources import SourceFrame
from posewire.sources._frames import picture_fault

__all__ = ["FrameSender"]


class FrameSender:
    """Encodes frames and hands them to the exchange.

    Args:
        exchange: takes the frames.
        workers: the threads that encode.
        keep_images: whether results carry their frames.
    """

    def __init__(self, exchange: Exchange, workers: Workers, *, keep_images: bool):
        self._exchange = exchange
        self._outgoing = exchange.outgoing
        self._workers = workers
        self._keep_images = keep_images

    async def pump(self, feed: SourceFeed) -> None:
        """Send a source's frames until the source or the stream ends."""
        exchange = self._exchange
        failure: Exception | None = None
        calls, whole = exchange.calls, True  # whole: no packet is missing, so the next can be decoded
        try:
            while True:
                # Wait for room before taking a frame, so that a live source gives its newest one.
                await exchange.wait_for_room(counting_untaken=True)
                item = await feed.next()
                if item is None:
                    break
                if item.frame.packet is not None:
                    whole = ((whole and calls == exchange.calls) or item.frame.keyframe) and not self._outgoing.drops
                    calls = exchange.calls
                await self._pass_on(item, drop=not whole or self._outgoing.drops)
        except Exception as error:  # noqa: BLE001 -- from the source or the program's iterable; raised where results are taken
            failure = error
        await exchange.finish(failure, complete=feed.exhausted)

    async def _pass_on(self, item: FeedItem, *, drop: bool) -> None:
        frame, outgoing = item.frame, self._outgoing
        if item.superseded:
            message = "a newer frame arrived before this one could be sent"
            await outgoing.skip(self._kept(frame), FrameStatus.DROPPED, "superseded", message)
        elif frame.problem:
            await outgoing.skip(self._kept(frame), FrameStatus.FAILED, "unreadable", frame.problem)
        elif drop:
            await outgoing.drop(self._kept(frame))
        else:
            await self.send(frame)

    async def send(self, frame: SourceFrame) -> None:
        """Encode one frame in a thread, and send it.

        Raises:
            InvalidSettings: the picture or its boxes are invalid. Nothing was sent.
            PosewireError: the stream has ended early.
        """
        taken_s = time.perf_counter()
        with _naming(frame):
            boxes = None if frame.boxes is None else boxes_array(frame.boxes)
        data = await self._encoded(frame) if frame.packet is None else frame.packet
        await self._outgoing.send(self._kept(frame), data, boxes, taken_s=taken_s)

    def _kept(self, frame: SourceFrame) -> SourceFrame:
        """The frame with its number and time checked, and with its pixels only if its result will carry them."""
        number = frame_number(frame.number)
        with _naming(frame):
            time_s = capture_time(frame.time_s)
        image = frame.image if self._keep_images else None
        return SourceFrame(number, time_s, image=image, name=frame.name, timed=frame.timed)

    async def _encoded(self, frame: SourceFrame) -> bytes:
        fault = picture_fault(frame.image)
        if fault or frame.image is None:
            raise InvalidSettings(f"frame {frame.number} is no picture: {fault}")
        settings = self._exchange.call.info.settings
        height, width = frame.image.shape[:2]
        if settings.codec == "raw" and settings.raw_size != (width, height):
            raise InvalidSettings(
                f"frame {frame.number} is {width}x{height}, but the stream was opened for raw frames of"
                f" {settings.raw_size}; use codec='jpeg' or 'png' for frames of different sizes"
            )
        encoding = partial(encode, frame.image, settings.codec, settings.jpeg_quality)
        with _naming(frame):
            return await asyncio.wrap_future(self._workers.submit(encoding))


@contextlib.contextmanager
def _naming(frame: SourceFrame) -> Iterator[None]:
    """Say in an error which frame it is about."""
    try:
        yield
    except InvalidSettings as error:
        raise InvalidSettings(f"frame {frame.number}: {error}") from error
