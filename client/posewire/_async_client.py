"""The asynchronous client."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar, Unpack

import grpc
import grpc.aio

from posewire import _wire
from posewire._channels.addresses import DEFAULT_ADDRESS
from posewire._channels.connections import Access, Connection, Connections
from posewire._channels.forks import note_use
from posewire._encoding import encode, sniff
from posewire._inputs import boxes_array, is_number
from posewire._streaming.call import is_cancelled_task
from posewire._streaming.plan import StreamPlan
from posewire._streaming.stream import AsyncTrackStream
from posewire._threads.workers import Workers
from posewire.connection import Reconnected, ReconnectSettings, TlsSettings
from posewire.errors import InvalidSettings, MisuseError, ServerFailed
from posewire.results import BoxesLike, Image, PoseEstimate, ServerInfo
from posewire.resume import ResumePoint
from posewire.settings import Codec, StreamOptions, StreamSettings, TrackerSettings
from posewire.sources import AsyncSourceLike
from posewire.sources._frames import picture_fault
from posewire.v1 import pose_tracking_service_pb2

__all__ = ["DEFAULT_RECONNECT", "PICTURE_QUALITY", "AsyncClient"]

Response = TypeVar("Response")
Answer = TypeVar("Answer")

# Single pictures are worth a little more than frames of a video.
PICTURE_QUALITY = 95
DEFAULT_RECONNECT = ReconnectSettings()


class AsyncClient:
    """A connection to a posewire server.

        async with posewire.AsyncClient("127.0.0.1:50051") as client:
            print(await client.server_info())
            async with client.track("walk.mp4") as stream:
                async for result in stream:
                    print(result.frame, [person.id for person in result.people])

    Streams and calls may run at the same time. Closing the client closes its streams.

    A client belongs to the event loop in which it is first used.

    Fork before you connect: a child process made by `os.fork()` while a client is open cannot use any client. It must
    not close or delete a client that it inherits: that may never return.

    Args:
        address: `host` or `host:port`, where the port is 50051 by default, or `unix:/path`. Or several of these, for
            interchangeable servers: when one cannot be reached, does not answer, is full or fails, the next one is
            tried. Ids continue if the servers have the same resume key.
        tls: encryption; None: plain text.
        token: bearer token, for servers that require one; or the path of a file that holds it, which is read again when
            it has changed.
        insecure: allow the token to be sent unencrypted to another machine.
        reconnect: how lost streams are resumed; None: a lost connection ends the stream with an exception.
        credentials: gRPC channel credentials, instead of `tls`.
        timeout_s: longest wait for the server: for a single answer, for a stream to open, and, while a stream has
            frames in flight, for the next answer.
        options: further options of the gRPC channel, as pairs of name and value.

    Raises:
        InvalidSettings: a setting is invalid, or the token would be sent unencrypted to another machine.
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
        if not (is_number(timeout_s) and timeout_s > 0 and math.isfinite(timeout_s)):
            raise InvalidSettings(f"timeout_s is {timeout_s!r}; it must be above 0 and finite")
        _check_kind("tls", tls, TlsSettings)
        _check_kind("reconnect", reconnect, ReconnectSettings)
        _check_kind("credentials", credentials, grpc.ChannelCredentials)
        access = Access(tls=tls, credentials=credentials, token=token, insecure=insecure)
        self._connections = Connections(address, access, options)
        self._reconnect = reconnect
        self._timeout_s = float(timeout_s)  # converts numpy's numbers too
        self._workers = Workers("posewire-worker")
        self._streams: set[AsyncTrackStream] = set()
        self._closed = False

    @property
    def address(self) -> str:
        """Where new calls go, as `host:port`: the most recently reached of several servers."""
        return self._connections.preferred

    async def __aenter__(self) -> Self:
        self._check_open()
        self._connections.to(self.address)  # raises if something is wrong with the certificates or the token
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the streams and the connection. Safe to call twice.

        Cancelled itself, it waits no longer, but everything is released all the same.
        """
        self._closed = True
        # As tasks of their own they go on, should this one be cancelled.
        streams = [asyncio.create_task(stream.aclose(), name="posewire-close") for stream in self._streams]
        try:
            if streams:
                await asyncio.wait(streams)
                await asyncio.gather(*streams)  # raises what they have raised
        finally:
            try:
                await self._connections.aclose()
            finally:
                self._workers.close()

    async def server_info(self) -> ServerInfo:
        """The server's version, models, limits and device.

        Raises:
            CallError: nobody answers, or the server refuses.
            MisuseError: the client is closed, or was before the answer came.
        """
        request = pose_tracking_service_pb2.GetServerInfoRequest()

        async def ask(server: Connection) -> pose_tracking_service_pb2.GetServerInfoResponse:
            call = server.stub.GetServerInfo(request, timeout=self._timeout_s, metadata=server.metadata)
            return await note_use(call)

        return await self._ask(ask, _wire.server_info_from, "asking for the server's description")

    async def estimate_poses(
        self,
        image: Image | bytes,
        boxes: BoxesLike | None = None,
        *,
        joint_set: str | None = None,
        box_score_threshold: float | None = None,
        codec: Codec = "jpeg",
        jpeg_quality: int = PICTURE_QUALITY,
    ) -> PoseEstimate:
        """Find the poses in one picture; no ids.

            estimate = await client.estimate_poses(image)
            estimate = await client.estimate_poses(Path("walk.jpg").read_bytes(), boxes=[[20, 30, 120, 330]])

        Args:
            image: `(h, w, 3)` uint8 RGB, or the bytes of a JPEG or PNG file. An EXIF orientation in the bytes is
                ignored: rotate such a picture first and pass the array.
            boxes: estimate one pose in each of these, in this order: `(n, 4)` left, top, right, bottom in pixels, or
                `(n, 5)` with a score; None: the detector finds people.
            joint_set: `coco17`, `posetrack15`, ...; None: all joints of the server's pose network.
            box_score_threshold: the detector's boxes with a lower score are dropped, 0..1; None: the server's default.
            codec: how an array is sent: `jpeg`, `png` or `raw`.
            jpeg_quality: 1..100.

        Raises:
            InvalidSettings: an argument is invalid. Nothing was sent.
            CallError: the server cannot be reached, or refuses; `InvalidRequest` if it cannot decode the picture.
            MisuseError: the client is closed, or was before the answer came.
        """
        given = None if boxes is None else boxes_array(boxes)
        checked = StreamSettings(
            codec=codec,
            jpeg_quality=jpeg_quality,
            joint_set=joint_set,
            tracker=TrackerSettings(box_score_threshold=box_score_threshold),
        )
        raw_size = None
        if isinstance(image, bytes):
            data, codec = image, sniff(image)
        else:
            fault = picture_fault(image)
            if fault:
                raise InvalidSettings(f"image is no picture: {fault}")
            raw_size = (image.shape[1], image.shape[0]) if codec == "raw" else None
            encoding = partial(encode, image, checked.codec, checked.jpeg_quality)
            data = await asyncio.wrap_future(self._workers.submit(encoding))
        request = _wire.estimate_request(
            data, codec, raw_size=raw_size, boxes=given, joint_set=joint_set, box_score_threshold=box_score_threshold
        )

        async def ask(server: Connection) -> pose_tracking_service_pb2.EstimatePosesResponse:
            call = server.stub.EstimatePoses(request, timeout=self._timeout_s, metadata=server.metadata)
            return await note_use(call)

        return await self._ask(ask, _wire.pose_estimate_from, "estimating poses")

    def track(
        self,
        source: AsyncSourceLike | None = None,
        *,
        settings: StreamSettings | None = None,
        max_frames: int | None = None,
        reopen_for_s: float = 0.0,
        source_options: dict[str, str] | None = None,
        keep_images: bool = False,
        resume: ResumePoint | None = None,
        on_reconnect: Callable[[Reconnected], object] | None = None,
        **options: Unpack[StreamOptions],
    ) -> AsyncTrackStream:
        """Follow people through a video, a camera, a folder of pictures, or frames that the program sends.

            async with client.track("rtsp://camera.local/1", similarity="multi-flow", detect_every=3) as stream:
                async for result in stream:
                    ...

        Args:
            source: anything that `open_source` accepts, such as an asynchronous generator of pictures, or a source that
                it has opened; None: the program calls `stream.send`.
            settings: of the stream; None: all defaults.
            max_frames: stop after this many frames of the source.
            reopen_for_s: if a camera or live address stops, how long to try to open it again; as for `open_source`.
            source_options: of FFmpeg's input, such as `{"video_size": "1280x720"}`; the `options` of `open_source`.
            keep_images: whether results carry their frames as `image`.
            resume: continue an earlier stream, with its ids.
            on_reconnect: a plain function, called when the connection was lost and the stream has been resumed.
            options: single settings by their names, on top of `settings`.

        Returns:
            The stream, to be opened with `async with`.

        Raises:
            InvalidSettings: a setting is unknown or out of range.
            MisuseError: the client is closed.
        """
        _check_kind("settings", settings, StreamSettings)
        plan = StreamPlan(
            source,
            (settings or StreamSettings()).with_options(options),
            max_frames=max_frames,
            reopen_for_s=reopen_for_s,
            source_options=source_options,
            keep_images=keep_images,
            resume=resume,
            timeout_s=self._timeout_s,
            reconnect=self._reconnect,
            on_reconnect=on_reconnect,
        )
        self._check_open()
        return AsyncTrackStream(self._connections, self._workers, plan, self._streams)

    async def _ask(
        self, ask: Callable[[Connection], Awaitable[Response]], read: Callable[[Response], Answer], doing: str
    ) -> Answer:
        """Make a single call to the first server that can be reached, and read its response."""
        self._check_open()
        try:
            response = await self._connections.first_answer(ask, doing)
        except asyncio.CancelledError:
            if self._closed and not is_cancelled_task():
                raise MisuseError("the client was closed before the answer came") from None
            raise
        try:
            return read(response)
        except ValueError as error:
            raise ServerFailed(
                f"{doing}: the server's response is invalid: {error}; this is a fault of the server: report it"
            ) from error

    def _check_open(self) -> None:
        if self._closed:
            raise MisuseError("this client is closed; make another one")


def _check_kind(name: str, value: object, kind: type) -> None:
    if value is not None and not isinstance(value, kind):
        raise InvalidSettings(f"{name} is a {type(value).__name__}; give {kind.__name__}, or None")
