"""A server and clips, prepared for any number of measurements."""

from __future__ import annotations

import asyncio
import base64
import copy
import dataclasses
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from posewire import ServerInfo
from posewire.cli.access import ServerAccess
from posewire.v1 import settings_pb2, track_pb2
from posewire_benchmark.access import access_fields
from posewire_benchmark.clips import make_footage
from posewire_benchmark.footage import Footage
from posewire_benchmark.load.accelerator import GpuUse, gpu_of, watch_gpu
from posewire_benchmark.load.generator import Closing, GeneratorPlan
from posewire_benchmark.load.generator_process import generator_process
from posewire_benchmark.load.options import BoxesFrom, LoadOptions
from posewire_benchmark.load.records import Records
from posewire_benchmark.load.result import LoadResult, Setting
from posewire_benchmark.load.schedule import Schedule
from posewire_benchmark.load.server_metrics import Scrape, scrape_all
from posewire_benchmark.load.summary import Measured, summarise
from posewire_benchmark.machine import this_machine
from posewire_benchmark.private_server import PrivateServer, private_server
from posewire_server.config import ServerConfig
from posewire_server.wire.names import DROP_POLICIES

__all__ = ["LoadRig", "load_rig", "measure_load", "on_rig"]

Result = TypeVar("Result")

# Frames continue for this long after the measured time, so that its last ones are also answered under load.
_COOL_DOWN_S = 0.5
_PATIENCE_S = 10.0
# From when all streams are open to the first frame.
_RUN_UP_S = 0.3
# Streams of a hostile client, beside those of the load.
_GUESTS = 32
_POLICIES = {policy: number for number, policy in DROP_POLICIES.items()}


class LoadRig:
    """What `load_rig` prepares.

    Args:
        options: of the load; a measurement may override some of them.
        servers: for each server, how it is reached, one access per caller.
        metrics_urls: of the servers; empty texts: none.
        gpu: UUID of the servers' GPU; empty: unknown.
        footage: the clips.
        folder: for files.
        setting: what is measured, for the results.
    """

    def __init__(
        self,
        options: LoadOptions,
        servers: Sequence[Sequence[ServerAccess]],
        metrics_urls: Sequence[str],
        gpu: str,
        footage: list[Footage],
        folder: Path,
        setting: Setting,
    ) -> None:
        self.options = options
        self.accesses = [of_callers[0] for of_callers in servers]
        self.metrics_urls = metrics_urls
        self._servers = servers
        self._gpu = gpu
        self.setting = setting
        self.footage = [folder / f"clip-{place}.npz" for place in range(len(footage))]
        for clip, path in zip(footage, self.footage, strict=True):
            clip.save(path)

    def as_caller(self, number: int) -> LoadRig:
        """The same rig as another caller with its own limits, if the server can tell callers apart."""
        rig = copy.copy(self)
        rig.accesses = [of_callers[number % len(of_callers)] for of_callers in self._servers]
        return rig

    async def measure(
        self, *, streams: int | None = None, fps: float | None = None, seconds: float | None = None
    ) -> LoadResult:
        """Open new streams, load the server, and close them."""
        return summarise(await self.record(streams=streams, fps=fps, seconds=seconds))

    async def record(
        self, *, streams: int | None = None, fps: float | None = None, seconds: float | None = None
    ) -> Measured:
        """Like `measure`, but returns the records.

        Raises:
            StreamsRefused: the server accepts no more streams.
            RuntimeError: the streams cannot be opened, or a generator dies.
        """
        of = self.options
        streams, fps, seconds = streams or of.streams, fps or of.fps, seconds or of.seconds
        end_s = of.warm_up_s + seconds
        schedule = Schedule(streams=streams, fps=fps, seconds=end_s + _COOL_DOWN_S)
        processes = of.generators_for(streams, fps)
        with tempfile.TemporaryDirectory(prefix="posewire-load-") as folder:
            plans = [
                self._plan(schedule, schedule.share(part, processes), end_s, Path(folder) / f"records-{part}.npy")
                for part in range(processes)
            ]
            start_s, closings, (before, after, gpu) = await self._run(plans, end_s)
            records: Records = np.concatenate([np.load(plan.records) for plan in plans])
        return Measured(
            setting=self.setting,
            schedule=schedule,
            records=records,
            begin_s=start_s + of.warm_up_s,
            end_s=start_s + end_s,
            max_lateness_ms=of.max_lateness_ms,
            generators=processes,
            generator_cpu_s=sum(closing.cpu_s for closing in closings),
            broken={stream: why for closing in closings for stream, why in closing.broken.items()},
            before=before,
            after=after,
            gpu=gpu,
        )

    def _plan(self, schedule: Schedule, streams: range, end_s: float, records: Path) -> GeneratorPlan:
        of = self.options
        tracker = settings_pb2.TrackerSettings()
        if of.detect_every is not None:
            tracker.detect_every = of.detect_every
        config = settings_pb2.StreamConfig(
            codec=of.clip.codec.on_the_wire,
            drop_policy=_POLICIES[of.drop_policy],
            tracker=tracker,
            max_detect_every=of.max_detect_every,
            name="posewire bench",
        )
        first = track_pb2.TrackRequest(config=config).SerializeToString()
        return GeneratorPlan(
            accesses=[access_fields(access) for access in self.accesses],
            footage=[str(path) for path in self.footage],
            streams=list(streams),
            of=schedule.streams,
            fps=schedule.fps,
            send_s=schedule.seconds,
            counted_s=(of.warm_up_s, end_s),
            patience_s=_PATIENCE_S,
            first_request=base64.b64encode(first).decode("ascii"),
            with_boxes=of.boxes is BoxesFrom.CALLER,
            records=str(records),
        )

    async def _run(
        self, plans: list[GeneratorPlan], end_s: float
    ) -> tuple[float, list[Closing], tuple[Scrape | None, Scrape | None, GpuUse | None]]:
        async with AsyncExitStack() as stack:
            generators = [await stack.enter_async_context(generator_process(plan)) for plan in plans]
            await asyncio.gather(*(each.ready() for each in generators))
            start_s = time.monotonic() + _RUN_UP_S
            for each in generators:
                each.start(start_s)
            watched = await self._watch_server(start_s + self.options.warm_up_s, start_s + end_s)
            closings = await asyncio.gather(*(each.closing() for each in generators))
        return start_s, list(closings), watched

    async def _watch_server(self, begin_s: float, end_s: float) -> tuple[Scrape | None, Scrape | None, GpuUse | None]:
        await asyncio.sleep(begin_s - time.monotonic())
        async with watch_gpu(self._gpu) as gpu:
            before = await self._metrics()
            await asyncio.sleep(end_s - time.monotonic())
            after = await self._metrics()
        return before, after, gpu.use()

    async def _metrics(self) -> Scrape | None:
        """The servers' metrics; None if one is gone, which its streams report in more detail."""
        try:
            return await scrape_all(self.metrics_urls)
        except OSError:
            return None


@asynccontextmanager
async def load_rig(
    options: LoadOptions, *, most_streams: int | None = None, callers: int = 0
) -> AsyncIterator[LoadRig]:
    """Make the clips, and start servers if none is given.

    Args:
        options: of the load.
        most_streams: largest number of streams of a measurement; None: that of the options.
        callers: number of callers that a private server can tell apart; each may open all streams once, and then as
            many per second as by default. 0: no distinction, and no such limit.

    Raises:
        RuntimeError: the private server does not start.
        OSError: the running server's metrics cannot be read.
        CallError: the running server does not answer.
        SourceError, ValueError: a clip or the bundle cannot be used.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posewire-rig-")))
        metrics_urls = [options.metrics_url]
        await scrape_all(metrics_urls)  # reports a wrong address at once
        footage = await asyncio.to_thread(make_footage, options.clip)
        servers: list[Sequence[ServerAccess]]
        if isinstance(options.server, ServerConfig):
            config = _with_room(options.server, most_streams or options.streams, callers)
            config = await _with_weights(config, options, folder)
            # One after another, since each measures at its start how fast it decodes.
            own = [
                await stack.enter_async_context(_own_server(config, options, callers)) for _ in range(options.servers)
            ]
            servers, metrics_urls = [server.accesses for server in own], [server.metrics_url for server in own]
        else:
            servers = [(options.server,)]
        async with servers[0][0].async_client() as client:
            info = await client.server_info()
        gpu = await gpu_of(info.device) if isinstance(options.server, ServerConfig) else ""
        yield LoadRig(options, servers, metrics_urls, gpu, footage, folder, _setting(info, options, footage))


async def _with_weights(config: ServerConfig, options: LoadOptions, folder: Path) -> ServerConfig:
    """The same server, with random weights if the options say so."""
    if options.random_weights:
        from posewire_benchmark.random_bundle import write_random_bundle  # imports torch, only needed here

        random = await asyncio.to_thread(write_random_bundle, config.bundle, folder / "bundle")
        config = dataclasses.replace(config, bundle=str(random))
    return config


def _own_server(config: ServerConfig, options: LoadOptions, callers: int) -> AbstractAsyncContextManager[PrivateServer]:
    people = options.clip.people if options.boxes is BoxesFrom.INJECTED else 0
    return private_server(config, inject_people=people, bare=options.without_networks, tokens=callers)


def measure_load(options: LoadOptions) -> LoadResult:
    """Measure one load.

    Raises:
        RuntimeError: the server does not start, refuses the streams (`StreamsRefused`), or a generator dies.
        OSError, SourceError, CallError, ValueError: see `load_rig`.
    """
    return on_rig(options, LoadRig.measure)


def on_rig(
    options: LoadOptions,
    measure: Callable[[LoadRig], Awaitable[Result]],
    *,
    most_streams: int | None = None,
    callers: int = 0,
) -> Result:
    """Run `measure` on a new rig and return its result; see `load_rig` for the other arguments."""

    async def run() -> Result:
        async with load_rig(options, most_streams=most_streams, callers=callers) as rig:
            return await measure(rig)

    return asyncio.run(run())


def _with_room(config: ServerConfig, streams: int, callers: int) -> ServerConfig:
    """The same server with room for all streams and some guests, which are opened anew for every measurement."""
    limits = config.limits
    # A known caller leaves half of the places for opening streams to others.
    room = max(limits.max_streams, streams + _GUESTS, 2 * streams if callers else 0)
    openings_per_s = limits.max_openings_per_s if callers else max(limits.max_openings_per_s, room)
    more = dataclasses.replace(limits, max_streams=room, max_openings_per_s=openings_per_s)
    return dataclasses.replace(config, limits=more)


def _setting(info: ServerInfo, options: LoadOptions, footage: list[Footage]) -> Setting:
    models = info.models
    several = f", {options.servers} of them" if options.servers > 1 else ""
    clips = ", ".join(
        f"{clip.name} {clip.size[0]}x{clip.size[1]} ({clip.codec}, {clip.frame_bytes / 1000:.0f} kB)"
        for clip in footage
    )
    return Setting(
        machine=this_machine(info.device),
        server=f"posewire {info.version} on {info.device}{several}",
        models=(
            f"bundle {models.bundle}{' with random weights' if options.random_weights else ''}: "
            f"detector {models.detector or 'none'}, flow {models.flow}, pose {models.pose}"
        ),
        frames=clips,
        boxes=options.boxes.value,
        drop_policy=options.drop_policy.value,
    )
