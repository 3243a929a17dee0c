"""The synchronous client: the asynchronous one, run on an event loop in its own thread."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, Unpack

import grpc

from posewire._async_client import DEFAULT_RECONNECT, PICTURE_QUALITY, AsyncClient
from posewire._channels.addresses import DEFAULT_ADDRESS
from posewire._channels.forks import check_process
from posewire._streaming.stream import AsyncTrackStream
from posewire._threads.loop_thread import LoopThread
from posewire.connection import Reconnected, ReconnectSettings, TlsSettings
from posewire.errors import InvalidSettings, MisuseError
from posewire.results import (
    BoxesLike,
    FrameResult,
    Image,
    PoseEstimate,
    ServerInfo,
    StreamInfo,
    StreamSummary,
)
from posewire.resume import ResumePoint
from posewire.settings import Codec, StreamOptions, StreamSettings
from posewire.sources import Source, SourceLike
from posewire.sources._awaited import is_asynchronous

__all__ = ["Client", "TrackStream"]


class Client:
    """A connection to a posewire server, for programs that are not asynchronous.

        with posewire.Client("127.0.0.1:50051") as client:
            print(client.server_info())
            for result in client.track("walk.mp4", similarity="multi-flow"):
                print(result.frame, [person.id for person in result.people])

    Arguments, results and errors are those of `AsyncClient`. Several threads may use one client, each with its own
    stream. A client that is no longer referenced is closed, with its streams, when Python collects it.

    Fork before you connect: a child process made by `os.fork()` while a client is open cannot use any client. It must
    not close or delete a client that it inherits: that may never return.
    """

    def __init__(
        self,
        address: str | Sequence[str] = DEFAULT_ADDRESS,
        *,
        tls: TlsSettings | None = None,
        token: str | Path = "",
        insecure: bool = False,
        reconnect: ReconnectSettings | None = DEFAULT_RECONNECT,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_s: float = 60.0,
        options: Sequence[tuple[str, Any]] = (),
    ):
        self._client = AsyncClient(
            address,
            tls=tls,
            token=token,
            insecure=insecure,
            reconnect=reconnect,
            credentials=credentials,
            timeout_s=timeout_s,
            options=options,
        )
        self._loop: LoopThread | None = None
        self._closed = False
        # Reentrant, since the handler of a signal may close the client while this thread is about to use it.
        self._lock = threading.RLock()

    @property
    def address(self) -> str:
        """As `AsyncClient.address`."""
        return self._client.address

    def __enter__(self) -> Self:
        self._running()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the streams and the connection. Safe to call twice."""
        with self._lock:
            self._closed = True
            loop, self._loop = self._loop, None
        if loop is not None:
            _close(self._client, loop)

    def server_info(self) -> ServerInfo:
        """As `AsyncClient.server_info`."""
        return self._running().run(self._client.server_info())

    def estimate_poses(
        self,
        image: Image | bytes,
        boxes: BoxesLike | None = None,
        *,
        joint_set: str | None = None,
        box_score_threshold: float | None = None,
        codec: Codec = "jpeg",
        jpeg_quality: int = PICTURE_QUALITY,
    ) -> PoseEstimate:
        """As `AsyncClient.estimate_poses`."""
        return self._running().run(
            self._client.estimate_poses(
                image,
                boxes,
                joint_set=joint_set,
                box_score_threshold=box_score_threshold,
                codec=codec,
                jpeg_quality=jpeg_quality,
            )
        )

    def track(
        self,
        source: SourceLike | None = None,
        *,
        settings: StreamSettings | None = None,
        max_frames: int | None = None,
        reopen_for_s: float = 0.0,
        source_options: dict[str, str] | None = None,
        keep_images: bool = False,
        resume: ResumePoint | None = None,
        on_reconnect: Callable[[Reconnected], object] | None = None,
        **options: Unpack[StreamOptions],
    ) -> TrackStream:
        """As `AsyncClient.track`, but the stream may be iterated over without `with`.

        `on_reconnect` is called in the connection's thread: it must be quick, and not call this client.
        """
        if is_asynchronous(source):
            raise InvalidSettings(
                f"{type(source).__name__} is an asynchronous iterable, whose event loop would wait for this client; use"
                " posewire.AsyncClient"
            )

        async def make() -> AsyncTrackStream:
            return self._client.track(
                source,
                settings=settings,
                max_frames=max_frames,
                reopen_for_s=reopen_for_s,
                source_options=source_options,
                keep_images=keep_images,
                resume=resume,
                on_reconnect=on_reconnect,
                **options,
            )

        loop = self._running()
        return TrackStream(loop.run(make()), loop, self)

    def _running(self) -> LoopThread:
        with self._lock:
            if self._closed:
                raise MisuseError("this client is closed; make another one")
            check_process()
            if self._loop is None:
                self._loop = LoopThread()
                # At the end of the interpreter, its threads end all by themselves.
                weakref.finalize(self, _close, self._client, self._loop).atexit = False
            return self._loop


class TrackStream:
    """Frames go in, results come out: one per frame, in the order of the frames. Made by `Client.track`.

    Iterating opens the stream, and closes it when the loop ends:

        for result in client.track("walk.mp4"):
            print(result.frame, [person.id for person in result.people])

    Opened explicitly, it gives the settings in force before the first result, and a summary after the last:

        with client.track("walk.mp4") as stream:
            print(stream.info.joint_set.names)
            for result in stream:
                ...
        print(stream.summary)

    Errors are those of `AsyncTrackStream`.
    """

    def __init__(self, stream: AsyncTrackStream, loop: LoopThread, client: Client):
        self._stream = stream
        self._loop = loop
        self._client = client  # it would close if it were collected before its stream
        self._opened = False

    def __enter__(self) -> Self:
        self._loop.run(self._stream.__aenter__())
        self._opened = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[FrameResult]:
        opened_here = not self._opened
        if opened_here:
            self.__enter__()
        try:
            while (result := self._loop.run(anext(self._stream, None))) is not None:
                yield result
        finally:
            if opened_here:
                self.close()

    def close(self) -> None:
        """Cancel what is under way and release everything. Safe to call twice."""
        self._loop.release(self._stream.aclose())

    @property
    def info(self) -> StreamInfo:
        """What the server settled on: joints, skeleton, settings, models."""
        return self._stream.info

    @property
    def address(self) -> str:
        """The server on which the stream currently runs."""
        return self._stream.address

    @property
    def reconnects(self) -> int:
        """How often the connection was lost and the stream resumed, so far."""
        return self._stream.reconnects

    @property
    def source(self) -> Source | None:
        """The opened source, if the stream has one."""
        return self._stream.source

    @property
    def summary(self) -> StreamSummary | None:
        """The verified counts of a stream that ended in order; None before."""
        return self._stream.summary

    @property
    def resume_point(self) -> ResumePoint | None:
        """Where another stream can continue this one; None while the server has given no token."""
        return self._stream.resume_point

    def send(
        self,
        frame: Image | bytes,
        *,
        number: int | None = None,
        time_s: float | None = None,
        boxes: BoxesLike | None = None,
    ) -> int:
        """As `AsyncTrackStream.send`."""
        return self._loop.run(self._stream.send(frame, number=number, time_s=time_s, boxes=boxes))

    def finish(self) -> None:
        """As `AsyncTrackStream.finish`."""
        self._loop.run(self._stream.finish())


def _close(client: AsyncClient, loop: LoopThread) -> None:
    """As a finaliser too: it waits only where it may."""
    loop.close(client.aclose())
