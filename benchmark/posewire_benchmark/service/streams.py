"""Sends footage to a server, or to a pipeline in this process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np

from posewire.cli.access import ServerAccess
from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire_benchmark.access import own_connection
from posewire_benchmark.footage import FootageFrame
from posewire_models.frames import Frame
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import Codec, PictureDecoder
from posewire_server.inference.pipeline import Pipeline
from posewire_server.streams.session import Session
from posewire_server.tracking import Boxes, BoxSource, Tracker, TrackerConfig

__all__ = ["FrameCost", "one_by_one", "through_pipeline", "through_server"]

# Frames in flight when throughput is measured.
_IN_FLIGHT = 8


@dataclass(frozen=True)
class FrameCost:
    """Where the time of one frame went, milliseconds.

    Attributes:
        round_trip: as the client saw it, from sending the frame to receiving the result.
        in_server: from the arrival of the request to the departure of the response.
        decode: in the decoder.
        networks: in the networks; detector and flow overlap, so the longer of the two counts.
        tracker: in the tracker.
    """

    round_trip: float
    in_server: float
    decode: float
    networks: float
    tracker: float

    @property
    def service(self) -> float:
        """What the service adds to decoding and networks: gRPC, scheduling, tracking."""
        return self.round_trip - self.decode - self.networks

    @property
    def grpc(self) -> float:
        """Part of `service`: the way to the server and back."""
        return self.round_trip - self.in_server

    @property
    def scheduling(self) -> float:
        """Part of `service`: waiting between the stages and switching between threads."""
        return self.in_server - self.decode - self.networks - self.tracker


async def one_by_one(access: ServerAccess, frames: Iterable[FootageFrame], *, with_boxes: bool) -> list[FrameCost]:
    """Send each frame after the result of the previous one has arrived.

    Raises:
        RuntimeError: the server refuses or ends the stream, or a frame was not tracked.
    """
    costs = []
    async with _stream(access) as call:
        for number, frame in enumerate(frames):
            request = frame.request(number, with_boxes=with_boxes)
            start = time.perf_counter()
            await call.write(request)
            tracked = _tracked(await call.read())
            round_trip = (time.perf_counter() - start) * 1e3
            times = tracked.timings
            networks = max(times.detect_ms, times.flow_ms) + times.pose_ms
            costs.append(FrameCost(round_trip, times.total_ms, times.decode_ms, networks, times.track_ms))
    return costs


async def through_server(access: ServerAccess, frames: list[FootageFrame], *, with_boxes: bool) -> float:
    """Seconds that a server takes for all frames, with several in flight; raises what `one_by_one` raises."""
    requests = [frame.request(number, with_boxes=with_boxes) for number, frame in enumerate(frames)]
    async with _stream(access) as call:
        under_way = asyncio.Semaphore(_IN_FLIGHT)

        async def send() -> None:
            for request in requests:
                await under_way.acquire()
                await call.write(request)

        start = time.perf_counter()
        sending = asyncio.create_task(send())
        for _ in requests:
            _tracked(await call.read())
            under_way.release()
        seconds = time.perf_counter() - start
        await sending
    return seconds


async def through_pipeline(
    pipeline: Pipeline, config: TrackerConfig, frames: list[FootageFrame], *, with_boxes: bool
) -> float:
    """Seconds that the pipeline takes for all frames in this process; each is decoded while the previous one runs."""
    decoder = PictureDecoder(Codec.JPEG, None, LimitsConfig())
    session = Session("in process", Tracker(config, pipeline.networks.joint_set.sigmas))
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(1) as decoding:
        start = time.perf_counter()
        following = loop.run_in_executor(decoding, decoder.decode, frames[0].data)
        for number, frame in enumerate(frames):
            pixels = await following
            if number + 1 < len(frames):
                following = loop.run_in_executor(decoding, decoder.decode, frames[number + 1].data)
            await pipeline.process(session, Frame(pixels), given=_given(frame) if with_boxes else None)
        return time.perf_counter() - start


def _given(frame: FootageFrame) -> Boxes:
    """The frame's boxes, marked as from the caller."""
    return Boxes.of(frame.boxes, np.ones(len(frame.boxes)), BoxSource.CALLER)


_Call = grpc.aio.StreamStreamCall[track_pb2.TrackRequest, track_pb2.TrackResponse]


@asynccontextmanager
async def _stream(access: ServerAccess) -> AsyncIterator[_Call]:
    """A stream on its own connection, closed properly at the end.

    Raises:
        RuntimeError: the server refuses or ends it.
    """
    connections = own_connection(access)
    connection = connections.to(connections.preferred)
    call: Any = connection.stub.Track(metadata=connection.metadata)
    config = settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG, drop_policy=settings_pb2.DROP_POLICY_ALL)
    try:
        await call.write(track_pb2.TrackRequest(config=config))
        await call.read()
        yield call
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
    except grpc.aio.AioRpcError as error:
        raise RuntimeError(f"the server ended a stream: {error.code().name}: {error.details()}") from error
    finally:
        await connections.aclose()


def _tracked(response: object) -> track_pb2.TrackedFrame:
    if not isinstance(response, track_pb2.TrackResponse) or response.WhichOneof("event") != "tracked":
        raise RuntimeError(f"a frame was not tracked: {response}")
    return response.tracked
