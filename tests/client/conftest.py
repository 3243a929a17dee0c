"""A real server that does what a script says: the SDK is tested over the wire, against whatever it may meet there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import grpc
import grpc.aio
import pytest

from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2
from posewire.v1.pose_tracking_service_pb2_grpc import (
    PoseTrackingServiceServicer,
    add_PoseTrackingServiceServicer_to_server,
)

Script: TypeAlias = "Callable[[Stream], AsyncIterator[track_pb2.TrackResponse]]"

COCO_NAMES = ("nose", "left_eye", "right_eye")


@dataclass
class Stream:
    """One Track call, as a script sees it."""

    requests: AsyncIterator[track_pb2.TrackRequest]
    context: grpc.aio.ServicerContext[Any, Any]
    config: settings_pb2.StreamConfig = field(default_factory=settings_pb2.StreamConfig)
    frames: list[track_pb2.Frame] = field(default_factory=list)

    async def start(self) -> track_pb2.TrackResponse:
        """Read the configuration; the response that accepts it."""
        self.config.CopyFrom((await anext(self.requests)).config)
        started = track_pb2.StreamStarted(stream_id="s1", config=self.config)
        started.joint_set.name = "three"
        started.joint_set.names.extend(COCO_NAMES)
        for a, b in ((0, 1), (0, 2)):
            started.joint_set.edges.add(**{"from": a, "to": b})
        started.config.tracker.similarity = self.config.tracker.similarity or settings_pb2.SIMILARITY_MULTI_FLOW
        return track_pb2.TrackResponse(started=started)

    async def incoming(self) -> AsyncIterator[track_pb2.Frame]:
        async for request in self.requests:
            self.frames.append(request.frame)
            yield request.frame


def tracked(frame: track_pb2.Frame) -> track_pb2.TrackResponse:
    """A frame with one person, whose joints tell the frame's number."""
    message = track_pb2.TrackedFrame(number=frame.number, capture_time=frame.capture_time, detector_ran=True)
    message.size.width, message.size.height = 64, 48
    message.timings.total_ms = 1.5
    message.people.add(
        id=7,
        score=0.5,
        box=pose_pb2.Box(x=1, y=2, width=3, height=4),
        box_source=pose_pb2.BOX_SOURCE_FLOW,
        joints=[frame.number, 1, 0.5, 2, 3, 0.25, 4, 5, 0.125],
    )
    return track_pb2.TrackResponse(tracked=message)


def summary(received: int, tracked: int, failed: int = 0, dropped: int = 0) -> track_pb2.TrackResponse:
    return track_pb2.TrackResponse(
        summary=track_pb2.StreamSummary(
            received=received, tracked=tracked, failed=failed, dropped=dropped, identities=1
        )
    )


async def faithful(stream: Stream) -> AsyncIterator[track_pb2.TrackResponse]:
    """Tracks every frame."""
    yield await stream.start()
    async for frame in stream.incoming():
        yield tracked(frame)
    yield summary(len(stream.frames), len(stream.frames))


class ScriptedService(PoseTrackingServiceServicer):
    def __init__(self, script: Script):
        self.script = script
        self.streams: list[Stream] = []
        self.estimates: list[pose_tracking_service_pb2.EstimatePosesRequest] = []
        self.ended = asyncio.Event()

    async def Track(self, request_iterator: Any, context: Any) -> AsyncIterator[track_pb2.TrackResponse]:  # noqa: N802
        stream = Stream(aiter(request_iterator), context)
        self.streams.append(stream)
        try:
            async for response in self.script(stream):
                yield response
        finally:
            self.ended.set()

    async def EstimatePoses(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.estimates.append(request)
        response = pose_tracking_service_pb2.EstimatePosesResponse()
        response.size.width, response.size.height = 64, 48
        response.joint_set.name = "three"
        response.joint_set.names.extend(COCO_NAMES)
        for box in request.boxes.boxes:
            response.people.add(box=box, score=1, joints=[0, 0, 1] * 3, box_source=pose_pb2.BOX_SOURCE_CALLER)
        return response

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        response = pose_tracking_service_pb2.GetServerInfoResponse(
            version="9.9", device="cpu (2 threads)", has_detector=True, joint_sets=["coco17"]
        )
        response.codecs.extend([pose_pb2.CODEC_JPEG, pose_pb2.CODEC_RAW_RGB24])
        response.limits.max_people = 30
        response.models.bundle = "nano"
        response.tracker_defaults.queue_length = 10
        response.tracker_defaults.match_threshold = 0.3
        return response


@dataclass
class ScriptedServer:
    address: str
    service: ScriptedService


Serve: TypeAlias = Callable[..., Awaitable[ScriptedServer]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    """Start a server with a script, on a free port, in the test's event loop."""
    servers: list[grpc.aio.Server] = []

    async def start(script: Script = faithful) -> ScriptedServer:
        server = grpc.aio.server()
        service = ScriptedService(script)
        add_PoseTrackingServiceServicer_to_server(service, server)
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        servers.append(server)
        return ScriptedServer(f"127.0.0.1:{port}", service)

    yield start
    for server in servers:
        await server.stop(None)
