"""A minimal client of the service that only uses the wire contract."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import grpc
import numpy as np

from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceStub
from posewire_server.config import ServerConfig

if TYPE_CHECKING:  # exists only in the stub files, not in gRPC's generated code
    from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceAsyncStub

LATEST = settings_pb2.DROP_POLICY_LATEST
ALL = settings_pb2.DROP_POLICY_ALL


def server_config(**settings: Any) -> ServerConfig:
    """A server configuration for tests: any free port, and few threads."""
    return ServerConfig(port=0, drain_grace_s=settings.pop("drain_grace_s", 5.0), **settings)


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[PoseTrackingServiceAsyncStub]:
    # Its own connection: by default, channels of one program share them.
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield PoseTrackingServiceStub(channel)


class Answers:
    """All responses of a stream."""

    def __init__(self) -> None:
        self.started: track_pb2.StreamStarted | None = None
        self.tracked: dict[int, track_pb2.TrackedFrame] = {}
        self.failed: dict[int, track_pb2.FailedFrame] = {}
        self.dropped: dict[int, int] = {}
        self.drain: track_pb2.Drain | None = None
        self.summary: track_pb2.StreamSummary | None = None
        self.token = b""
        self.order: list[str] = []

    def take(self, response: track_pb2.TrackResponse) -> None:
        """Add a response; it is an error if a frame is answered twice."""
        kind = response.WhichOneof("event") or "dropped only"
        self.order.append(kind)
        self.token = response.resume_token or self.token
        for frame in response.dropped:
            assert frame.number not in self.answered
            self.dropped[frame.number] = frame.reason
        match kind:
            case "tracked":
                assert response.tracked.number not in self.answered
                self.tracked[response.tracked.number] = response.tracked
            case "failed":
                self.failed[response.failed.number] = response.failed
            case "started" | "drain" | "summary":
                setattr(self, kind, getattr(response, kind))

    @property
    def answered(self) -> set[int]:
        return self.tracked.keys() | self.failed.keys() | self.dropped.keys()

    def ids(self, number: int) -> list[int]:
        return [person.id for person in self.tracked[number].people]


class TrackClient:
    """One Track call, message by message."""

    def __init__(self, stub: PoseTrackingServiceAsyncStub) -> None:
        self.call = stub.Track()
        self.answers = Answers()

    async def open(self, codec: pose_pb2.Codec.ValueType = pose_pb2.CODEC_JPEG, **config: Any) -> Answers:
        await self.configure(settings_pb2.StreamConfig(codec=codec, **config))
        await self.read()
        return self.answers

    async def configure(self, config: settings_pb2.StreamConfig) -> None:
        await self.call.write(track_pb2.TrackRequest(config=config))

    async def send(self, number: int, data: bytes, boxes: np.ndarray | None = None) -> None:
        """Send a frame; `boxes` `(n, 4)`: left, top, width, height."""
        frame = track_pb2.Frame(number=number, data=data, boxes=None if boxes is None else box_list(boxes))
        frame.capture_time.FromMilliseconds(1000 + number)
        await self.call.write(track_pb2.TrackRequest(frame=frame))

    async def read(self) -> track_pb2.TrackResponse | None:
        response = await self.call.read()
        if response is grpc.aio.EOF:
            return None
        assert isinstance(response, track_pb2.TrackResponse)
        self.answers.take(response)
        return response

    async def read_until(self, event: str) -> None:
        """Read up to a response of the given kind."""
        while (response := await self.read()) is not None:
            if response.WhichOneof("event") == event:
                return
        raise AssertionError(f"the stream ended without {event!r}: {self.answers.order}")

    async def finish(self) -> Answers:
        """Half-close, and read to the end."""
        await self.call.done_writing()
        while await self.read() is not None:
            pass
        return self.answers

    async def failure(self) -> grpc.aio.AioRpcError:
        """Read to the end of a stream that ends with an error."""
        try:
            while await self.read() is not None:
                pass
        except grpc.aio.AioRpcError as error:
            return error
        raise AssertionError(f"the stream ended in order: {self.answers.order}")


def box_list(boxes: np.ndarray) -> pose_pb2.BoxList:
    rows = np.asarray(boxes, float).reshape(-1, 4).tolist()
    return pose_pb2.BoxList(boxes=[pose_pb2.Box(x=x, y=y, width=width, height=height) for x, y, width, height in rows])
