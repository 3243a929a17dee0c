"""A real server that follows a script: the SDK is tested over the wire with any behaviour of a server."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeAlias

import av
import grpc
import grpc.aio
import numpy as np
import pytest

import posewire
from posewire.sources import ArraySource
from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2
from posewire.v1.pose_tracking_service_pb2_grpc import (
    PoseTrackingServiceServicer,
    add_PoseTrackingServiceServicer_to_server,
)

Script: TypeAlias = "Callable[[Stream], AsyncIterator[track_pb2.TrackResponse]]"


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Modules that need torch are skipped where only the client is installed."""
    report = yield
    if report.failed and find_spec("torch") is None and "No module named 'torch'" in str(report.longrepr):
        report.outcome = "skipped"
        report.longrepr = (str(collector.path), 0, "Skipped: needs the extra `server`")
    return report


COCO_NAMES = ("nose", "left_eye", "right_eye")


def pictures(count: int, size: tuple[int, int] = (64, 48)) -> list[Any]:
    return [np.full((size[1], size[0], 3), 7 * number % 250, np.uint8) for number in range(count)]


def packets(keyframes: str) -> list[posewire.SourceFrame]:
    """A packet for each letter; K is a keyframe."""
    return [
        posewire.SourceFrame(number, number / 10, packet=b"x", keyframe=letter == "K")
        for number, letter in enumerate(keyframes)
    ]


class Packets(ArraySource):
    """A video source; `keyframes` as for `packets`."""

    codec = "h264"

    def __init__(self, keyframes: str):
        super().__init__([])
        self.packets = packets(keyframes)

    def __iter__(self) -> Iterator[posewire.SourceFrame]:
        yield from self.packets


async def collect(stream: posewire.AsyncTrackStream) -> list[posewire.FrameResult]:
    return [result async for result in stream]


@dataclass
class Stream:
    """One Track call, as a script sees it."""

    context: grpc.aio.ServicerContext[Any, Any]
    config: settings_pb2.StreamConfig = field(default_factory=settings_pb2.StreamConfig)
    frames: list[track_pb2.Frame] = field(default_factory=list)

    async def start(self) -> track_pb2.TrackResponse:
        """Read the configuration, and return the response that accepts it."""
        self.config.CopyFrom((await self.context.read()).config)
        started = track_pb2.StreamStarted(stream_id="s1", config=self.config)
        started.joint_set.name = "three"
        started.joint_set.names.extend(COCO_NAMES)
        for a, b in ((0, 1), (0, 2)):
            started.joint_set.edges.add(**{"from": a, "to": b})
        started.config.tracker.similarity = self.config.tracker.similarity or settings_pb2.SIMILARITY_MULTI_FLOW
        return track_pb2.TrackResponse(started=started)

    async def incoming(self) -> AsyncIterator[track_pb2.Frame]:
        # `read`, since gRPC's iterator is a generator that nobody would close.
        while (request := await self.context.read()) is not grpc.aio.EOF:
            self.frames.append(request.frame)
            yield request.frame


def tracked(frame: track_pb2.Frame) -> track_pb2.TrackResponse:
    """The response for a frame with one person, whose joints encode the frame's number."""
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
    """A service with a script for its streams.

    Attributes:
        silent: whether single calls get no answer.
        status: the status that ends single calls; None: they are answered.
        edges: added to the joint set in answers to single calls.
        asked: set at the first single call.
        ended: set at the end of the first stream.
    """

    def __init__(self, script: Script):
        self.silent = False
        self.status: grpc.StatusCode | None = None
        self.edges: list[pose_pb2.JointSet.Edge] = []
        self.asked = asyncio.Event()
        self.script = script
        self.streams: list[Stream] = []
        self.estimates: list[pose_tracking_service_pb2.EstimatePosesRequest] = []
        self.ended = asyncio.Event()

    async def Track(self, request_iterator: Any, context: Any) -> AsyncIterator[track_pb2.TrackResponse]:  # noqa: N802
        stream = Stream(context)
        self.streams.append(stream)
        try:
            async for response in self.script(stream):
                yield response
        finally:
            self.ended.set()

    async def EstimatePoses(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.estimates.append(request)
        await self._be_asked(context)
        response = pose_tracking_service_pb2.EstimatePosesResponse()
        response.size.width, response.size.height = 64, 48
        response.joint_set.name = "three"
        response.joint_set.names.extend(COCO_NAMES)
        response.joint_set.edges.extend(self.edges)
        for box in request.boxes.boxes:
            response.people.add(box=box, score=1, joints=[0, 0, 1] * 3, box_source=pose_pb2.BOX_SOURCE_CALLER)
        return response

    async def _be_asked(self, context: Any) -> None:
        self.asked.set()
        if self.silent:
            await asyncio.Event().wait()
        if self.status is not None:
            await context.abort(self.status, "as the script says")

    async def GetServerInfo(self, request: Any, context: Any) -> Any:  # noqa: N802
        await self._be_asked(context)
        response = pose_tracking_service_pb2.GetServerInfoResponse(
            version="9.9", device="cpu (2 threads)", has_detector=True, joint_sets=["coco17"]
        )
        response.codecs.extend([pose_pb2.CODEC_JPEG, pose_pb2.CODEC_RAW_RGB24, 7])  # 7: of a newer server
        response.limits.max_people = 30
        response.joint_set.edges.extend(self.edges)
        response.models.bundle = "nano"
        response.tracker_defaults.queue_length = 10
        response.tracker_defaults.match_threshold = 0.3
        response.tracker_defaults.pose_nms_oks = 1.5  # beyond what this client knows
        return response


@dataclass(frozen=True)
class Scripts:
    """The building blocks of scripts."""

    faithful = staticmethod(faithful)
    tracked = staticmethod(tracked)
    summary = staticmethod(summary)

    @staticmethod
    def failed(number: int) -> track_pb2.TrackResponse:
        failure = track_pb2.FailedFrame(
            number=number, reason=track_pb2.FAILURE_REASON_UNDECODABLE, message="cut off; send it whole"
        )
        return track_pb2.TrackResponse(failed=failure)

    @staticmethod
    def dropped(*numbers: int, reason: Any = track_pb2.DROP_REASON_SUPERSEDED) -> list[track_pb2.DroppedFrame]:
        return [track_pb2.DroppedFrame(number=number, reason=reason) for number in numbers]


@pytest.fixture(scope="session")
def scripts() -> Scripts:
    return Scripts()


@pytest.fixture(scope="session")
def make_video() -> Callable[..., Path]:
    """Write a video whose frames get brighter, with a red square in the top left corner."""

    def make(
        path: Path,
        *,
        frames: int = 20,
        size: tuple[int, int] = (64, 48),
        fps: int = 10,
        codec: str = "libx264",
        rotation: int = 0,
        options: dict[str, str] | None = None,
    ) -> Path:
        with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
            stream = container.add_stream(codec, rate=fps, options=options or {})
            stream.width, stream.height = size
            stream.pix_fmt = "yuv420p"
            if rotation:
                stream.set_display_rotation(rotation)
            for number in range(frames):
                picture = np.full((size[1], size[0], 3), 10 * number % 250, np.uint8)
                picture[:16, :16] = (255, 0, 0)
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            container.mux(stream.encode())
        return path

    return make


def deadline_s(stream: posewire.AsyncTrackStream) -> float | None:
    """When the server's next answer is due, on the event loop's clock; None if it owes none."""
    return stream._open_exchange()._answer_deadline.when()


def shorten_timeout(stream: posewire.AsyncTrackStream, timeout_s: float) -> None:
    """Set the timeout for further answers: opening a stream may take longer than that on a slow machine."""
    exchange = stream._open_exchange()
    exchange._timeout_s = timeout_s
    exchange._reset_deadline()


def posewire_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("posewire")]


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    """Check that no thread of the SDK outlives the test."""
    before = set(posewire_threads())
    yield
    for thread in set(posewire_threads()) - before:
        thread.join(5)
        assert not thread.is_alive(), f"{thread.name} is still running"


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

    before = asyncio.all_tasks()
    yield start
    left = {task.get_name() for task in asyncio.all_tasks() - before if task.get_name().startswith("posewire")}
    assert not left, f"tasks are still running: {left}"
    for server in servers:
        await server.stop(None)
