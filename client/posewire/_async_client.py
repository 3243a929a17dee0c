"""The asynchronous client."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, Unpack

import grpc
import grpc.aio

from posewire import _wire
from posewire._encoding import encode, sniff
from posewire._plan import StreamPlan
from posewire._status import error_from_status
from posewire._stream import AsyncTrackStream
from posewire.errors import InvalidSettings, MisuseError
from posewire.results import BoxesLike, Image, PoseEstimate, ServerInfo
from posewire.resume import ResumePoint
from posewire.settings import Codec, StreamOptions, StreamSettings
from posewire.sources import SourceLike
from posewire.sources._frames import picture_fault
from posewire.v1 import pose_tracking_service_pb2
from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceStub

if TYPE_CHECKING:
    from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceAsyncStub

__all__ = ["DEFAULT_ADDRESS", "DEFAULT_PORT", "AsyncClient"]

DEFAULT_PORT = 50051
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"

# Single pictures are worth a little more than frames of a video.
_PICTURE_QUALITY = 95

_SCHEME = re.compile(r"(unix|unix-abstract|vsock|dns|ipv4|ipv6|xds):")


class AsyncClient:
    """A connection to a posewire server.

        async with posewire.AsyncClient("127.0.0.1:50051") as client:
            print(await client.server_info())
            async with client.track("walk.mp4") as stream:
                async for result in stream:
                    print(result.frame, [person.id for person in result.people])

    Streams and calls may run at the same time. Closing the client closes its streams.

    Args:
        address: `host` or `host:port`, the port being 50051 by default, or `unix:/path`.
        credentials: for TLS, e.g. `grpc.ssl_channel_credentials()`; None: no encryption.
        timeout_s: longest wait for the server: for a single answer, for a stream to open, and, while a stream has
            frames under way, for the next answer.
        options: further options of the gRPC channel, as pairs of name and value.

    Raises:
        InvalidSettings: the address or timeout makes no sense.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        timeout_s: float = 60.0,
        options: Sequence[tuple[str, Any]] = (),
    ):
        if not (timeout_s > 0 and math.isfinite(timeout_s)):
            raise InvalidSettings(f"timeout_s is {timeout_s!r}; it must be above 0 and finite")
        self.address = _full_address(address)
        self._credentials = credentials
        self._timeout_s = timeout_s
        self._options = list(options)
        self._channel: grpc.aio.Channel | None = None
        self._workers: ThreadPoolExecutor | None = None
        self._streams: set[AsyncTrackStream] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        self._connection()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close the streams and the connection. Safe to call twice."""
        self._closed = True
        await asyncio.gather(*(stream.aclose() for stream in list(self._streams)))
        if self._channel is not None:
            await self._channel.close()
            self._channel = None
        if self._workers is not None:
            # Nothing is waited for: a worker may be stuck in a camera that does not open.
            self._workers.shutdown(wait=False, cancel_futures=True)
            self._workers = None

    async def server_info(self) -> ServerInfo:
        """The server's version, models, limits and device.

        Raises:
            CallError: nobody answers, or the server refuses.
        """
        request = pose_tracking_service_pb2.GetServerInfoRequest()
        try:
            response = await self._stub().GetServerInfo(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise error_from_status(error, self.address, "asking for the server's description") from error
        return _wire.server_info_from(response)

    async def estimate_poses(
        self,
        image: Image | bytes,
        boxes: BoxesLike | None = None,
        *,
        joint_set: str | None = None,
        box_score_threshold: float | None = None,
        codec: Codec = "jpeg",
        jpeg_quality: int = _PICTURE_QUALITY,
    ) -> PoseEstimate:
        """Find the poses in one picture; no ids.

            estimate = await client.estimate_poses(image)
            estimate = await client.estimate_poses(Path("walk.jpg").read_bytes(), boxes=[[20, 30, 120, 330]])

        Args:
            image: `(h, w, 3)` uint8 RGB, or the bytes of a JPEG or PNG file.
            boxes: estimate in these, one person each, in this order: `(n, 4)` left, top, right, bottom in pixels, or
                `(n, 5)` with a score; None: the detector finds people.
            joint_set: `coco17`, `posetrack15`, ...; None: all joints of the server's pose network.
            box_score_threshold: the detector's boxes with a lower score are dropped, 0..1; None: the server's default.
            codec: how an array travels: `jpeg`, `png` or `raw`.
            jpeg_quality: 1..100.

        Raises:
            InvalidSettings: an argument is unusable. Nothing was sent.
            CallError: nobody answers, or the server refuses; `InvalidRequest` if the picture cannot be decoded there.
        """
        given = None if boxes is None else _wire.boxes_array(boxes)
        raw_size = None
        if isinstance(image, bytes):
            data, codec = image, sniff(image)
        else:
            checked = StreamSettings(codec=codec, jpeg_quality=jpeg_quality)
            fault = picture_fault(image)
            if fault:
                raise InvalidSettings(f"image is no picture: {fault}")
            raw_size = (image.shape[1], image.shape[0]) if codec == "raw" else None
            data = await asyncio.get_running_loop().run_in_executor(
                self._pool(), encode, image, checked.codec, checked.jpeg_quality
            )
        if box_score_threshold is not None and not 0 <= box_score_threshold <= 1:
            raise InvalidSettings(f"box_score_threshold is {box_score_threshold!r}; it is a number in 0..1")
        request = _wire.estimate_request(
            data, codec, raw_size=raw_size, boxes=given, joint_set=joint_set, box_score_threshold=box_score_threshold
        )
        try:
            response = await self._stub().EstimatePoses(request, timeout=self._timeout_s)
        except grpc.aio.AioRpcError as error:
            raise error_from_status(error, self.address, "estimating poses") from error
        return _wire.pose_estimate_from(response)

    def track(
        self,
        source: SourceLike | None = None,
        *,
        settings: StreamSettings | None = None,
        max_frames: int | None = None,
        keep_images: bool = False,
        resume: ResumePoint | None = None,
        **options: Unpack[StreamOptions],
    ) -> AsyncTrackStream:
        """Follow people through a video, a camera, a folder of pictures, or frames that the program sends.

            async with client.track("rtsp://camera.local/1", similarity="multi-flow", detect_every=3) as stream:
                async for result in stream:
                    ...

        Args:
            source: what `open_source` understands, or a source it has opened; None: the program calls `stream.send`.
            settings: of the stream; None: all defaults.
            max_frames: stop after so many frames of the source.
            keep_images: whether results carry their frames as `image`.
            resume: take up an earlier stream, with its ids.
            options: single settings by their names, on top of `settings`.

        Returns:
            The stream, to be opened with `async with`.

        Raises:
            InvalidSettings: a setting is unknown or out of range.
        """
        plan = StreamPlan(
            source,
            (settings or StreamSettings()).with_options(options),
            max_frames=max_frames,
            keep_images=keep_images,
            resume=resume,
            timeout_s=self._timeout_s,
        )
        return AsyncTrackStream(self._connection(), self.address, self._pool(), plan, self._streams)

    def _connection(self) -> grpc.aio.Channel:
        if self._closed:
            raise MisuseError("this client is closed; make another one")
        if self._channel is None:
            if self._credentials is None:
                self._channel = grpc.aio.insecure_channel(self.address, self._options)
            else:
                self._channel = grpc.aio.secure_channel(self.address, self._credentials, self._options)
        return self._channel

    def _stub(self) -> PoseTrackingServiceAsyncStub:
        stub: PoseTrackingServiceAsyncStub = PoseTrackingServiceStub(self._connection())
        return stub

    def _pool(self) -> ThreadPoolExecutor:
        if self._workers is None:
            self._workers = ThreadPoolExecutor(thread_name_prefix="posewire-worker")
        return self._workers


def _full_address(address: str) -> str:
    """The address with a port; names of other schemes are gRPC's business."""
    if "://" in address or not address.strip():
        raise InvalidSettings(f"the address {address!r} is not of the form host:port, e.g. {DEFAULT_ADDRESS}")
    if _SCHEME.match(address):
        return address
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        return f"{address}:{DEFAULT_PORT}"
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise InvalidSettings(
            f"the address {address!r} has no port in 1..65535 after its colon; e.g. {DEFAULT_ADDRESS}"
        )
    return address
