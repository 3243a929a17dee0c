"""A stream of frames and results: the interface for programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from types import TracebackType
from typing import Any, Self

from posewire._channels.connections import Connections
from posewire._streaming.exchange import Exchange
from posewire._streaming.feed import SourceFeed
from posewire._streaming.frame_sender import FrameSender
from posewire._streaming.opening import Opened, open_source_and_call
from posewire._streaming.plan import StreamPlan, settings_to_ask_again
from posewire._streaming.reconnection import Reconnection
from posewire._threads.workers import Workers
from posewire.errors import MisuseError
from posewire.results import BoxesLike, FrameResult, Image, StreamInfo, StreamSummary
from posewire.resume import ResumePoint
from posewire.sources import Source, SourceFrame
from posewire.sources._frames import own_copy, steady_clock

__all__ = ["AsyncTrackStream"]

# Most results that may wait to be taken if the program itself sends the frames.
_MOST_UNTAKEN = 1000


class AsyncTrackStream:
    """Frames go in, results come out: one per frame, in frame order.

    Created by `AsyncClient.track`. Use it as a context manager; leaving the block cancels frames in flight.

        async with client.track("walk.mp4", similarity="multi-flow") as stream:
            async for result in stream:
                print(result.frame, [person.id for person in result.people])
        print(stream.summary)

    Without a source, the program sends its own frames, and takes results one by one, or in another task. After
    `finish` it reads the remaining results to the end; only then is the account checked:

        images = (frame.image for frame in posewire.open_source("walk.mp4", max_frames=100))
        async with client.track() as stream:
            for image in images:
                await stream.send(image)
                print(await anext(stream))
            await stream.finish()
            async for result in stream:  # the remaining results: none here
                print(result)
        print(stream.summary)

    Iterating ends when every frame has its result and the account has been checked: sent = tracked + failed + dropped.
    If the connection is lost, or the server goes away, the stream resumes at this server or another one of the
    client's; the first tracked result after that says so (`FrameResult.reconnected`). If no frames may be skipped,
    unanswered frames are sent again; with a camera they are dropped, with the reason `disconnected`.

    After all results that arrived, iterating raises:

        SourceError: the source failed, or a camera stopped. An exception raised by the program's own iterable is
            raised as it is.
        ConnectionLost: no server was found to continue at; or, without reconnection, the connection or the server
            failed, or was silent for longer than `timeout_s`.
        StreamDrained: the server stops, or a limit ends the stream; only without reconnection.
        AccountingError: the server did not answer every frame exactly once.
        StreamBroken: the server at which the stream would resume has other joints; or a response is invalid.
        ServerRefused: the server ended the stream because of something it was sent.
    """

    def __init__(
        self,
        connections: Connections,
        workers: Workers,
        plan: StreamPlan,
        open_streams: set[AsyncTrackStream],
    ):
        self._connections = connections
        self._workers = workers
        self._plan = plan
        self._open_streams = open_streams
        self._source: Source | None = None
        self._feed: SourceFeed | None = None
        self._opening: asyncio.Task[Opened] | None = None
        self._pump: asyncio.Task[None] | None = None
        self._exchange: Exchange | None = None
        self._sending = asyncio.Lock()
        self._opened = self._closed = False
        self._clock = steady_clock()

    # -- opening and closing -------------------------------------------------------------------------------------------

    async def __aenter__(self) -> Self:
        """Open the source and the stream.

        Raises:
            SourceError: the source cannot be opened.
            InvalidSettings: a setting does not suit the source, or a certificate cannot be read.
            CallError: the server cannot be reached, or refuses the stream.
            MisuseError: the stream was opened before, or it or the client was closed.
        """
        if self._opened or self._closed:
            raise MisuseError("this stream was opened before, or closed; make another one with client.track()")
        self._opened = True
        self._open_streams.add(self)
        try:
            await self._open()
        except BaseException:
            await self.aclose()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Cancel frames in flight and release everything. Safe to call twice.

        If cancelled itself, it stops waiting, but still releases everything.
        """
        self._closed = True
        async with AsyncExitStack() as ends:  # each is awaited even if an earlier one fails
            ends.callback(self._forget)
            if self._feed is not None:
                ends.push_async_callback(self._feed.aclose)
            if self._exchange is not None:
                ends.push_async_callback(self._exchange.aclose)
            if self._pump is not None:
                ends.push_async_callback(_wait_for_end, self._pump)
            if self._opening is not None:
                ends.push_async_callback(_wait_for_end, self._opening)
            self._cancel_all()

    def _forget(self) -> None:
        self._open_streams.discard(self)
        # A cancelled task keeps the call alive through its traceback, see `TrackCall.cancel`.
        self._opening = self._pump = None

    def _cancel_all(self) -> None:
        """Cancel everything without waiting for it to end."""
        if self._opening is not None:
            self._opening.cancel()
            self._opening.add_done_callback(_close_opened)  # it may have completed just before
        if self._exchange is not None:
            self._exchange.cancel()
        if self._pump is not None:
            self._pump.cancel()
        if self._feed is not None:
            self._feed.close()

    async def _open(self) -> None:
        plan = self._plan
        self._opening = asyncio.create_task(open_source_and_call(plan, self._connections), name="posewire-opening")
        await asyncio.wait([self._opening])
        if self._closed:
            raise MisuseError("this stream was closed before its end: while it was opening")
        self._source, call, settings = self._opening.result()
        reconnection = None
        if plan.reconnect is not None:
            reconnection = Reconnection(self._connections, plan.reconnect, settings_to_ask_again(settings, call.info))
        self._exchange = Exchange(
            call,
            plan.timeout_s,
            reconnection=reconnection,
            # A camera does not wait for us, nor does a program that prefers the newest frame.
            waits=settings.drop_policy == "all" or (self._source is not None and not self._source.live),
            resume=plan.resume,
            on_reconnect=plan.on_reconnect,
        )
        if self._source is not None:
            newest_wins = self._source.live and settings.drop_policy == "latest"
            self._feed = SourceFeed(self._source, newest_wins=newest_wins)
            self._exchange.on_stop = self._feed.stop
            self._pump = asyncio.create_task(self._sender(self._exchange).pump(self._feed), name="posewire-pump")
        self._opening = None  # from here on, the exchange and the feed close what it opened

    # -- what is known about it ----------------------------------------------------------------------------------------

    @property
    def info(self) -> StreamInfo:
        """What the server decided on: joints, skeleton, settings, models."""
        return self._open_exchange().call.info

    @property
    def address(self) -> str:
        """The address of the server that currently serves the stream."""
        return self._open_exchange().call.address

    @property
    def reconnects(self) -> int:
        """How often the stream has reconnected so far."""
        return 0 if self._exchange is None else self._exchange.calls - 1

    @property
    def source(self) -> Source | None:
        """The opened source, if the stream has one."""
        return self._source

    @property
    def summary(self) -> StreamSummary | None:
        """The checked account once the stream has ended normally; None before."""
        return None if self._exchange is None else self._exchange.summary

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where another stream could resume this one; None until the server has sent a token."""
        return self._open_exchange().resume_point

    # -- results -------------------------------------------------------------------------------------------------------

    def __aiter__(self) -> AsyncIterator[FrameResult]:
        return self

    async def __anext__(self) -> FrameResult:
        result = await self._open_exchange().take()
        if result is None:
            raise StopAsyncIteration
        return result

    # -- frames of the program -----------------------------------------------------------------------------------------

    async def send(
        self,
        frame: Image | bytes,
        *,
        number: int | None = None,
        time_s: float | None = None,
        boxes: BoxesLike | None = None,
    ) -> int:
        """Send one frame; waits while `max_in_flight` frames are in flight.

        Cancelling a running `send` cancels the stream.

        Args:
            frame: a picture `(h, w, 3)` uint8 RGB, or bytes that are already encoded in the stream's codec.
            number: larger than the previous one; None: the previous one plus 1.
            time_s: when the frame was taken; None: now, as Unix time.
            boxes: use these instead of the detector's: `(n, 4)` left, top, right, bottom in pixels, or `(n, 5)` with a
                score. `box_score_threshold` and `max_people` apply to them too. People that they leave out, even with
                no rows at all, are carried on by the flow for a while, unless `propagation=False`.

        Returns:
            The frame's number, as in its result.

        Raises:
            InvalidSettings: the frame, number, time or boxes are invalid. Nothing was sent.
            MisuseError: the stream is closed or was finished, has a source of its own, or nobody takes its results.
            PosewireError: the stream has ended early; the same error as iterating raises.
        """
        exchange = self._open_exchange()
        if self._source is not None:
            raise MisuseError("this stream takes its frames from its source; open one without a source to send frames")
        if exchange.untaken >= _MOST_UNTAKEN:
            raise MisuseError(f"{exchange.untaken} results wait; iterate over the stream to take them")
        async with self._sending:  # keeps frames in the order of the calls
            settings = exchange.call.info.settings
            await exchange.wait_for_room(counting_untaken=False)
            exchange.check_open()
            number = exchange.next_number if number is None else number
            own = SourceFrame(number, self._clock() if time_s is None else time_s, boxes=boxes)
            # If the server slows the sender down, "now" only shows the server's own pace, which its tracker cannot use.
            own.timed = time_s is not None or settings.drop_policy == "latest"
            if isinstance(frame, bytes):
                own.packet = frame
            else:
                own.image = own_copy(frame) if self._plan.keep_images else frame
            await self._sender(exchange).send(own)
            return number

    async def finish(self) -> None:
        """Tell the server that no more frames follow. Iterating then ends after the last result.

        Raises:
            MisuseError: the stream was never opened, or has a source of its own.
        """
        if self._source is not None:
            raise MisuseError("this stream ends with its source; leave its `with` block to end it earlier")
        async with self._sending:
            await self._open_exchange().finish()

    # -- parts ---------------------------------------------------------------------------------------------------------

    def _sender(self, exchange: Exchange) -> FrameSender:
        return FrameSender(exchange, self._workers, keep_images=self._plan.keep_images)

    def _open_exchange(self) -> Exchange:
        if self._exchange is None:
            raise MisuseError(
                "this stream is not open; use it in `with client.track(...) as stream:`, or `async with` in asyncio"
            )
        return self._exchange


async def _wait_for_end(task: asyncio.Task[Any]) -> None:
    await asyncio.gather(task, return_exceptions=True)


def _close_opened(opening: asyncio.Task[Opened]) -> None:
    if not opening.cancelled() and opening.exception() is None:
        opening.result().close()
