"""A server, clips and generators that stand ready for any number of measurements."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TypeVar

import numpy as np

from posewire import AsyncClient, ServerInfo
from posewire.cli.access import ServerAccess
from posewire.v1 import settings_pb2, track_pb2
from posewire_server.benchmark.access import access_fields
from posewire_server.benchmark.clips import make_footage
from posewire_server.benchmark.footage import Footage
from posewire_server.benchmark.load.accelerator import GpuUse, watch_gpu
from posewire_server.benchmark.load.generator import Closing, GeneratorPlan
from posewire_server.benchmark.load.options import BoxesFrom, LoadOptions
from posewire_server.benchmark.load.planned_process import planned_process
from posewire_server.benchmark.load.records import Records
from posewire_server.benchmark.load.result import LoadResult, Setting
from posewire_server.benchmark.load.schedule import Schedule
from posewire_server.benchmark.load.server_metrics import Scrape, scrape
from posewire_server.benchmark.load.summary import Measured, summarise
from posewire_server.benchmark.machine import this_machine
from posewire_server.benchmark.private_server import private_server
from posewire_server.config import ServerConfig
from posewire_server.wire.names import DROP_POLICIES

__all__ = ["LoadRig", "load_rig", "measure_load", "on_rig"]

Result = TypeVar("Result")

# Frames go on for so long after the measured time, so that its last ones are answered under load too.
_COOL_DOWN_S = 0.5
_PATIENCE_S = 10.0
# From the moment at which all streams are open to the first frame.
_RUN_UP_S = 0.3
_READY_TIMEOUT_S = 120.0
# Streams of a hostile client, beside those of the load.
_GUESTS = 32
_POLICIES = {policy: number for number, policy in DROP_POLICIES.items()}


class LoadRig:
    """What `load_rig` prepares.

    Args:
        options: of the load; a measurement may replace some of them.
        access: how the server is reached.
        metrics_url: of the server; empty: none.
        footage: clips.
        folder: for files.
        setting: what is measured, for the results.
    """

    def __init__(
        self,
        options: LoadOptions,
        access: ServerAccess,
        metrics_url: str,
        footage: list[Footage],
        folder: Path,
        setting: Setting,
    ) -> None:
        self.options = options
        self.access = access
        self.metrics_url = metrics_url
        self.setting = setting
        self.footage = [folder / f"clip-{place}.npz" for place in range(len(footage))]
        for clip, path in zip(footage, self.footage, strict=True):
            clip.save(path)

    async def measure(
        self, *, streams: int | None = None, fps: float | None = None, seconds: float | None = None
    ) -> LoadResult:
        """Open new streams, load the server, and close them."""
        return summarise(await self.record(streams=streams, fps=fps, seconds=seconds))

    async def record(
        self, *, streams: int | None = None, fps: float | None = None, seconds: float | None = None
    ) -> Measured:
        """The same, as records.

        Raises:
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
            start_s, closings, told = await self._run(plans, end_s)
            records: Records = np.concatenate([np.load(plan.records) for plan in plans])
        before, after, gpu = told
        return Measured(
            setting=self.setting,
            schedule=schedule,
            records=records,
            start_s=start_s,
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
            access=access_fields(self.access),
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
            generators = [await stack.enter_async_context(_generator(plan)) for plan in plans]
            await asyncio.gather(*(each.ready() for each in generators))
            start_s = time.monotonic() + _RUN_UP_S
            for each in generators:
                each.start(start_s)
            told = await self._watch_server(start_s + self.options.warm_up_s, start_s + end_s)
            closings = await asyncio.gather(*(each.closing() for each in generators))
        return start_s, list(closings), told

    async def _watch_server(self, begin_s: float, end_s: float) -> tuple[Scrape | None, Scrape | None, GpuUse | None]:
        await asyncio.sleep(begin_s - time.monotonic())
        async with watch_gpu() as gpu:
            before = await scrape(self.metrics_url)
            await asyncio.sleep(end_s - time.monotonic())
            after = await scrape(self.metrics_url)
        return before, after, gpu.use()


class _Generator:
    """A generator process that runs."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ready(self) -> None:
        """Wait until its streams are open."""
        try:
            line = await asyncio.wait_for(self._line(), _READY_TIMEOUT_S)
        except TimeoutError:
            raise RuntimeError(f"the streams were not open after {_READY_TIMEOUT_S:g} s") from None
        if line != "ready":
            raise RuntimeError(Closing(**json.loads(line)).error)

    def start(self, start_s: float) -> None:
        """Tell it when the schedule starts."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{start_s!r}\n".encode())

    async def closing(self) -> Closing:
        """Wait for its end."""
        closing = Closing(**json.loads(await self._line()))
        await self._process.wait()  # it is on its way out: killed now, it would have no exit status
        if closing.error:
            raise RuntimeError(closing.error)
        return closing

    async def _line(self) -> str:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a load generator ended early (exit status {await self._process.wait()})")
        return line.decode().strip()


@asynccontextmanager
async def _generator(plan: GeneratorPlan) -> AsyncIterator[_Generator]:
    async with planned_process("posewire_server.benchmark.load.generator", dataclasses.asdict(plan)) as process:
        yield _Generator(process)


@asynccontextmanager
async def load_rig(options: LoadOptions, *, most_streams: int | None = None) -> AsyncIterator[LoadRig]:
    """Make the clips, and start a server if need be.

    Args:
        options: of the load.
        most_streams: that a measurement will have; None: as many as the options say.

    Raises:
        RuntimeError: the private server does not start.
        CallError: the running one does not answer.
        SourceError, ValueError: a clip, or the bundle, cannot be used.
    """
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="posewire-rig-")))
        footage = await asyncio.to_thread(make_footage, options.clip)
        access, metrics_url = options.server, options.metrics_url
        if isinstance(access, ServerConfig):
            config = _with_room(access, most_streams or options.streams)
            if options.random_weights:
                from posewire_server.benchmark.random_bundle import write_random_bundle  # torch, needed for this alone

                random = await asyncio.to_thread(write_random_bundle, config.bundle, folder / "bundle")
                config = dataclasses.replace(config, bundle=str(random))
            people = options.clip.people if options.boxes is BoxesFrom.INJECTED else 0
            server = await stack.enter_async_context(private_server(config, inject_people=people))
            access, metrics_url = server.access, server.metrics_url
        async with access.async_client() as client:
            setting = await _setting(client, options, footage)
        yield LoadRig(options, access, metrics_url, footage, folder, setting)


def measure_load(options: LoadOptions) -> LoadResult:
    """Measure one load.

    Raises:
        RuntimeError: the server does not start, refuses the streams, or a generator dies.
        SourceError, CallError, ValueError: see `load_rig`.
    """
    return on_rig(options, LoadRig.measure)


def on_rig(
    options: LoadOptions, measure: Callable[[LoadRig], Awaitable[Result]], *, most_streams: int | None = None
) -> Result:
    """What `measure` returns, on a rig of its own; see `load_rig` for the rest."""

    async def run() -> Result:
        async with load_rig(options, most_streams=most_streams) as rig:
            return await measure(rig)

    return asyncio.run(run())


def _with_room(config: ServerConfig, streams: int) -> ServerConfig:
    """The same server with places for all streams and some guests."""
    limits = config.limits
    room = max(limits.max_streams, streams + _GUESTS)
    return dataclasses.replace(config, limits=dataclasses.replace(limits, max_streams=room))


async def _setting(client: AsyncClient, options: LoadOptions, footage: list[Footage]) -> Setting:
    info: ServerInfo = await client.server_info()
    models = info.models
    clips = ", ".join(
        f"{clip.name} {clip.size[0]}x{clip.size[1]} ({clip.codec}, {clip.frame_bytes / 1000:.0f} kB)"
        for clip in footage
    )
    return Setting(
        machine=this_machine(info.device),
        server=f"posewire {info.version} on {info.device}",
        models=(
            f"bundle {models.bundle}{' with random weights' if options.random_weights else ''}: "
            f"detector {models.detector or 'none'}, flow {models.flow}, pose {models.pose}"
        ),
        frames=clips,
        boxes=options.boxes.value,
        drop_policy=options.drop_policy.value,
    )
