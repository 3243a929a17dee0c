"""The measurements: overhead of the service, throughput, cost of the tracker, growth of memory."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass

import numpy as np

from posewire.array_types import Float32s
from posewire.joints import COCO17
from posewire_benchmark.footage import Footage
from posewire_benchmark.private_server import PrivateServer
from posewire_benchmark.service.options import BenchmarkOptions
from posewire_benchmark.service.streams import one_by_one, through_pipeline, through_server
from posewire_models.frames import Frame
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import Codec, PictureDecoder
from posewire_server.inference.networks import Networks
from posewire_server.inference.pipeline import Pipeline
from posewire_server.tracking import Boxes, BoxSource, Tracker, TrackerConfig

__all__ = [
    "Memory",
    "ServiceCost",
    "StageCost",
    "Throughput",
    "TrackerCost",
    "memory",
    "service_cost",
    "stage_cost",
    "throughput",
    "tracker_cost",
]

# The first frames of a stream fill queues, caches and memory pools, and are not measured.
_WARM_UP_FRAMES = 20
_FRAMES_A_STREAM = 3


@dataclass(frozen=True)
class ServiceCost:
    """Medians per frame, in milliseconds; see `FrameCost`.

    Attributes:
        service_ms: what gRPC, scheduling and tracking add to decoding and networks.
        service_p95_ms: its 95th percentile.
        round_trip_ms: as the client sees it.
        decode_ms: in the decoder.
        networks_ms: in the networks.
        grpc_ms: part of `service_ms`: the way to the server and back.
        scheduling_ms: part of `service_ms`: between the stages.
        tracker_ms: part of `service_ms`: in the tracker.
    """

    service_ms: float
    service_p95_ms: float
    round_trip_ms: float
    decode_ms: float
    networks_ms: float
    grpc_ms: float
    scheduling_ms: float
    tracker_ms: float


@dataclass(frozen=True)
class StageCost:
    """Median milliseconds of each network per frame, called alone; 0 for the detector if there is none."""

    detect_ms: float
    flow_ms: float
    pose_ms: float

    @property
    def together_ms(self) -> float:
        """Sum of all; in the service, detector and flow overlap."""
        return self.detect_ms + self.flow_ms + self.pose_ms


@dataclass(frozen=True)
class Throughput:
    """Frames per second, medians over the rounds.

    Attributes:
        server_fps: over loopback, from this process to a server process.
        in_process_fps: of the same pipeline, called in this process.
        ratio: median of the rounds' ratios.
    """

    server_fps: float
    in_process_fps: float
    ratio: float


@dataclass(frozen=True)
class TrackerCost:
    """Milliseconds that the tracker takes per frame (unify and update, without networks)."""

    people: int
    queue_length: int
    median_ms: float
    p95_ms: float


@dataclass(frozen=True)
class Memory:
    """Resident memory of the server process, MB.

    Attributes:
        frames: number of frames sent on one stream.
        before_frames_mb: after a tenth of them, when pools and caches are filled.
        after_frames_mb: after all of them.
        streams: number of streams opened and closed afterwards.
        after_streams_mb: after these.
    """

    frames: int
    before_frames_mb: float
    after_frames_mb: float
    streams: int
    after_streams_mb: float


async def service_cost(server: PrivateServer, footage: Footage, options: BenchmarkOptions) -> ServiceCost:
    """Send frames one by one on one stream of an otherwise idle server."""
    count = _WARM_UP_FRAMES + options.frames
    costs = await one_by_one(server.access, footage.play(count), with_boxes=options.with_boxes)
    costs = costs[_WARM_UP_FRAMES:]
    return ServiceCost(
        service_ms=statistics.median(cost.service for cost in costs),
        service_p95_ms=float(np.percentile([cost.service for cost in costs], 95)),
        round_trip_ms=statistics.median(cost.round_trip for cost in costs),
        decode_ms=statistics.median(cost.decode for cost in costs),
        networks_ms=statistics.median(cost.networks for cost in costs),
        grpc_ms=statistics.median(cost.grpc for cost in costs),
        scheduling_ms=statistics.median(cost.scheduling for cost in costs),
        tracker_ms=statistics.median(cost.tracker for cost in costs),
    )


def stage_cost(networks: Networks, footage: Footage, options: BenchmarkOptions) -> StageCost:
    """Run each network alone, one frame at a time, with the true boxes of the people."""
    decoder = PictureDecoder(Codec.JPEG, None, LimitsConfig())
    played = list(footage.play(_WARM_UP_FRAMES + options.frames))
    previous = Frame(decoder.decode(played[0].data))
    times = []
    for shown in played[1:]:
        frame = Frame(decoder.decode(shown.data))
        marks = [time.perf_counter()]
        if networks.detector is not None:
            networks.detector([frame])
        marks.append(time.perf_counter())
        networks.flow([(previous, frame)])
        marks.append(time.perf_counter())
        networks.pose([frame], [shown.boxes])
        marks.append(time.perf_counter())
        times.append(np.diff(marks) * 1e3)
        previous = frame
    detect_ms, flow_ms, pose_ms = np.median(times[_WARM_UP_FRAMES:], axis=0).tolist()
    return StageCost(detect_ms if networks.detector is not None else 0.0, flow_ms, pose_ms)


async def throughput(
    server: PrivateServer, pipeline: Pipeline, footage: Footage, options: BenchmarkOptions
) -> Throughput:
    """One stream over loopback and the pipeline in process, in turns, so that slow moments affect both."""
    frames = list(footage.play(options.frames))
    tracker = TrackerConfig()
    await through_pipeline(pipeline, tracker, frames[:_WARM_UP_FRAMES], with_boxes=options.with_boxes)
    rounds = []
    for _ in range(options.rounds):
        over_loopback_s = await through_server(server.access, frames, with_boxes=options.with_boxes)
        in_process_s = await through_pipeline(pipeline, tracker, frames, with_boxes=options.with_boxes)
        rounds.append((len(frames) / over_loopback_s, len(frames) / in_process_s))
    return Throughput(
        server_fps=statistics.median(server_fps for server_fps, _ in rounds),
        in_process_fps=statistics.median(in_process_fps for _, in_process_fps in rounds),
        ratio=statistics.median(server_fps / in_process_fps for server_fps, in_process_fps in rounds),
    )


async def memory(server: PrivateServer, footage: Footage, options: BenchmarkOptions) -> Memory | None:
    """Many frames on one stream, then many short streams; None if memory cannot be read or no frames are requested."""
    if not options.memory_frames or server.memory_mb() is None:
        return None
    first = max(1, options.memory_frames // 10)
    await one_by_one(server.access, footage.play(first), with_boxes=options.with_boxes)
    before = server.memory_mb() or 0.0
    await one_by_one(server.access, footage.play(options.memory_frames - first), with_boxes=options.with_boxes)
    after = server.memory_mb() or 0.0
    for _ in range(options.memory_streams):
        await one_by_one(server.access, footage.play(_FRAMES_A_STREAM), with_boxes=options.with_boxes)
    return Memory(options.memory_frames, before, after, options.memory_streams, server.memory_mb() or 0.0)


class _Drift:
    """A uniform flow field."""

    def at(self, points: Float32s) -> Float32s:
        return np.full_like(points, 2.0)


def tracker_cost(people: int = 20, queue_length: int = 10, frames: int = 300) -> TrackerCost:
    """The tracker alone, with `people` walking people, multi-flow similarity and joint propagation."""
    rng = np.random.default_rng(0)
    tracker = Tracker(TrackerConfig(queue_length=queue_length), COCO17.sigmas)
    corners = np.stack([60.0 * np.arange(people), np.full(people, 100.0)], axis=1)
    poses = rng.uniform((0, 0), (50, 150), (people, len(COCO17), 2))
    times = []
    for frame in range(queue_length + frames):
        moved = corners + 2.0 * frame
        boxes = Boxes.of(np.concatenate([moved, moved + (50, 150)], axis=1), np.full(people, 0.9), BoxSource.DETECTOR)
        start = time.perf_counter()
        unified = tracker.unify(boxes, _Drift() if frame else None)
        unify_s = time.perf_counter() - start
        owners = np.rint((unified.xyxy[:, 0] - 2.0 * frame) / 60.0).astype(int).clip(0, people - 1)
        joints = np.full((len(unified), len(COCO17), 3), 0.9, np.float32)
        joints[..., :2] = moved[owners, None] + poses[owners] + rng.normal(0, 0.5, (len(unified), len(COCO17), 2))
        start = time.perf_counter()
        tracker.update(unified, joints)
        times.append((unify_s + time.perf_counter() - start) * 1e3)
    times = times[queue_length:]
    return TrackerCost(people, queue_length, statistics.median(times), float(np.percentile(times, 95)))
