"""Runs the whole benchmark and shows its results."""

from __future__ import annotations

import asyncio
import dataclasses
from dataclasses import dataclass
from typing import Any

from posewire.cli.quantities import quantity
from posewire_benchmark.clips import make_footage
from posewire_benchmark.credentials import can_make_credentials
from posewire_benchmark.footage import Footage
from posewire_benchmark.machine import Machine, load_average, this_machine
from posewire_benchmark.private_server import private_server
from posewire_benchmark.service.measurements import (
    Memory,
    ServiceCost,
    StageCost,
    Throughput,
    TrackerCost,
    memory,
    service_cost,
    stage_cost,
    throughput,
    tracker_cost,
)
from posewire_benchmark.service.options import BenchmarkOptions
from posewire_server.inference.networks import ModelNames, Networks, load_networks
from posewire_server.inference.pipeline import Pipeline

__all__ = ["BenchmarkReport", "run_benchmark"]


@dataclass(frozen=True)
class BenchmarkReport:
    """All results."""

    machine: Machine
    models: ModelNames
    frame_size: tuple[int, int]
    frame_bytes: int
    people: int
    boxes_from: str
    service_cost: ServiceCost
    secured_cost: ServiceCost | None
    stages: StageCost
    throughput: Throughput
    tracker: TrackerCost
    memory: Memory | None

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return dataclasses.asdict(self)

    def as_text(self) -> str:
        """Human-readable lines, with the project's targets beside the measurements."""
        machine, models, cost, flow = self.machine, self.models, self.service_cost, self.throughput
        stages = self.stages
        what = f"bundle {models.bundle}: detector {models.detector or 'none'}, flow {models.flow}, pose {models.pose}"
        secured = "-   (making a certificate needs the openssl command)"
        if self.secured_cost is not None:
            secured = f"{self.secured_cost.service_ms:8.2f} ms   (at most 3)"
        width, height = self.frame_size
        frames = f"{width}x{height} JPEG of {self.frame_bytes // 1000} kB, {quantity(self.people, 'person', 'people')}"
        lines = [
            machine.as_line(),
            f"{what}; {frames}, boxes from the {self.boxes_from}",
            "",
            "service cost per frame (median)",
            f"  gRPC, scheduling, tracking {cost.service_ms:8.2f} ms   (at most 3)",
            f"    of it gRPC               {cost.grpc_ms:8.2f} ms",
            f"    of it scheduling         {cost.scheduling_ms:8.2f} ms",
            f"    of it tracking           {cost.tracker_ms:8.2f} ms",
            f"    95 % below               {cost.service_p95_ms:8.2f} ms",
            f"  decoding                   {cost.decode_ms:8.2f} ms",
            f"  networks                   {cost.networks_ms:8.2f} ms",
            f"  round trip                 {cost.round_trip_ms:8.2f} ms",
            "service cost with TLS and a token",
            f"  gRPC, scheduling, tracking {secured}",
            "networks alone, one after another (median)",
            f"  detector                   {stages.detect_ms:8.2f} ms" + ("" if models.detector else "   (none)"),
            f"  flow                       {stages.flow_ms:8.2f} ms",
            f"  poses                      {stages.pose_ms:8.2f} ms",
            f"  together                   {stages.together_ms:8.2f} ms",
            "throughput of one stream",
            f"  over loopback              {flow.server_fps:8.1f} fps",
            f"  same pipeline in process   {flow.in_process_fps:8.1f} fps",
            f"  ratio                      {flow.ratio:8.2f}      (at least 0.85)",
            f"tracker, {self.tracker.people} people, L_Q = {self.tracker.queue_length}",
            f"  per frame (median)         {self.tracker.median_ms:8.2f} ms   (below 2)",
            f"    95 % below               {self.tracker.p95_ms:8.2f} ms",
        ]
        if self.memory is not None:
            of = self.memory
            lines += [
                "memory of the server",
                f"  after {of.frames // 10:5d} frames         {of.before_frames_mb:8.1f} MB",
                f"  after {of.frames:5d} frames         {of.after_frames_mb:8.1f} MB",
                f"  after {of.streams:5d} more streams   {of.after_streams_mb:8.1f} MB",
            ]
        return "\n".join(lines)


def run_benchmark(options: BenchmarkOptions) -> BenchmarkReport:
    """Measure everything; takes some minutes.

    Raises:
        ValueError, OSError: the networks cannot be loaded.
        RuntimeError: the server does not start, does not track the frames, or ends early.
    """
    load = load_average()
    # Blocking measurements run outside the event loop, in which Ctrl-C would have to wait for them.
    tracker = tracker_cost()
    (footage,) = make_footage(options.clip)
    networks = load_networks(options.server)
    stages = stage_cost(networks, footage, options)
    served = asyncio.run(_served(options, networks, footage))
    return BenchmarkReport(
        machine=this_machine(networks.device, load),
        models=networks.names,
        frame_size=(options.width, options.height),
        frame_bytes=footage.frame_bytes,
        people=options.people,
        boxes_from="caller" if options.with_boxes else "detector",
        service_cost=served.cost,
        secured_cost=served.secured,
        stages=stages,
        throughput=served.throughput,
        tracker=tracker,
        memory=served.memory,
    )


@dataclass(frozen=True)
class _Served:
    """The measurements that need a server."""

    cost: ServiceCost
    secured: ServiceCost | None
    throughput: Throughput
    memory: Memory | None


async def _served(options: BenchmarkOptions, networks: Networks, footage: Footage) -> _Served:
    pipeline = Pipeline(networks, options.server.batching)
    try:
        async with private_server(options.server) as server:
            cost = await service_cost(server, footage, options)
            flow = await throughput(server, pipeline, footage, options)
            grown = await memory(server, footage, options)
        secured = None
        if can_make_credentials():
            async with private_server(options.server, secured=True) as server:
                secured = await service_cost(server, footage, options)
    finally:
        pipeline.close()
    return _Served(cost, secured, flow, grown)
