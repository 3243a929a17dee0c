"""The open-loop load on a real server in this process; the generators are separate processes."""

from __future__ import annotations

import asyncio
import base64
import dataclasses
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import grpc
import numpy as np
import pytest
from typer.testing import CliRunner

from posewire.cli.access import ServerAccess
from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire_benchmark.__main__ import app
from posewire_benchmark.access import access_fields, own_connection
from posewire_benchmark.clips import ClipOptions, make_footage
from posewire_benchmark.credentials import make_tokens
from posewire_benchmark.footage import FootageCodec
from posewire_benchmark.injected_server import with_injected_people
from posewire_benchmark.load import rig as rig_module
from posewire_benchmark.load import sender as sender_module
from posewire_benchmark.load.generator import GeneratorPlan
from posewire_benchmark.load.generator_process import StreamsRefused
from posewire_benchmark.load.hostile_kind import HostileKind
from posewire_benchmark.load.interference import InterferenceOptions, run_interference
from posewire_benchmark.load.options import BoxesFrom, LoadOptions
from posewire_benchmark.load.records import Outcome
from posewire_benchmark.load.rig import LoadRig, load_rig
from posewire_benchmark.load.schedule import Schedule
from posewire_benchmark.load.sender import SendingStream
from posewire_benchmark.load.server_metrics import scrape
from posewire_benchmark.load.summary import Measured, summarise
from posewire_benchmark.private_server import PrivateServer
from posewire_benchmark.tables import TABLES
from posewire_models.frames import Frame
from posewire_server.admission import openings as openings_module
from posewire_server.admission.tokens import TokenGrant, append_line, new_token
from posewire_server.config import LimitsConfig, SecurityConfig, ServerConfig
from posewire_server.inference.networks import Networks
from posewire_server.server import PoseServer, running_server
from posewire_server.streams.inbox import DropPolicy
from tests.integration.certificates import Authority
from tests.integration.service_calls import server_config
from tests.server.stand_ins import Floats, Gate, GridPose, networks

CLIP = ClipOptions(size=(160, 120), people=2, frames=4)
BUSY_S = 0.05
# Limit for what takes a second or two.
_LIMIT_S = 30.0


class SlowPose(GridPose):
    """Takes a fixed time for each frame, one after another."""

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        time.sleep(BUSY_S * len(frames))  # stands for work, not for waiting
        return super().__call__(frames, boxes)


@asynccontextmanager
async def load_on(
    stand_ins: Networks, *, slots: int = 64, **options: object
) -> AsyncIterator[tuple[PoseServer, LoadRig]]:
    config = server_config()
    config = replace(config, limits=replace(config.limits, max_streams=slots))
    server = await PoseServer.start(config, stand_ins)
    try:
        load = LoadOptions(**({"clip": CLIP, "warm_up_s": 0.0} | options), server=ServerAccess((server.address,)))  # type: ignore[arg-type]
        async with load_rig(load) as rig:
            yield server, rig
    finally:
        await server.stop()


def counted(server: PoseServer, name: str) -> int:
    """A counter of the server, summed over all labels."""
    return int(
        sum(
            sample.value
            for family in server.metrics.registry.collect()
            for sample in family.samples
            if sample.name == f"posewire_{name}_total"
        )
    )


def check_accounts(server: PoseServer, measured: Measured) -> None:
    """Every frame is answered, and the server's counters agree."""
    outcome, sent = measured.records["outcome"], ~np.isnan(measured.records["sent_s"])
    assert not ((outcome == Outcome.OPEN) & sent).any()
    assert counted(server, "frames_tracked") == (outcome == Outcome.TRACKED).sum()
    assert counted(server, "frames_dropped") == (outcome == Outcome.DROPPED).sum()
    assert counted(server, "frames_failed") == (outcome == Outcome.FAILED).sum() == 0
    assert sent.sum() == counted(server, "frames_tracked") + counted(server, "frames_dropped")


@pytest.mark.parametrize("codec", FootageCodec)
async def test_every_frame_is_due_sent_and_answered_for(codec: FootageCodec) -> None:
    async with load_on(
        networks(),
        clip=replace(CLIP, codec=codec),
        streams=3,
        fps=10.0,
        seconds=1.0,
        generators=2,
        drop_policy=DropPolicy.ALL,
        max_lateness_ms=10_000.0,
    ) as (server, rig):
        measured = await rig.record()
        check_accounts(server, measured)
    result = summarise(measured)
    assert (result.frames.due, result.frames.sent, result.frames.tracked) == (30, 30, 30)
    assert (result.offered_fps, result.generators, result.lost_share, result.faults) == (30.0, 2, 0.0, ())
    assert result.people == 2.0
    assert result.latency is not None
    assert result.age is not None
    assert result.latency.p50 > 0
    assert result.age.p95 > result.latency.p50
    assert result.stages.keys() >= {"queue", "decode", "pose", "track", "total"}
    assert "3 streams at 10 fps" in result.as_text()
    table = TABLES["load"](json.loads(json.dumps(result.as_json(), allow_nan=False)))
    assert "| tracked / dropped / failed | 30 / 0 / 0 |" in table


async def test_a_slow_server_shows_in_the_latency() -> None:
    fps = 40.0  # twice the rate of the server
    async with load_on(networks(pose=SlowPose()), fps=fps, seconds=1.0, drop_policy=DropPolicy.ALL) as (server, rig):
        measured = await rig.record()
        check_accounts(server, measured)
    # Frame k is due at k / 40 s and cannot be there before (k + 1) * 0.05 s. A load that sent the next frame after the
    # answer, or counted from when it could send, would have seen little more than 50 ms for any of them.
    tracked = measured.records[measured.records["outcome"] == Outcome.TRACKED]
    latency_s = tracked["answered_s"] - tracked["due_s"]
    assert (latency_s >= (tracked["number"] + 1) * BUSY_S - tracked["number"] / fps).all()
    result = summarise(measured)
    assert result.latency is not None
    assert result.latency.p50 >= 20 * (1e3 * BUSY_S - 1e3 / fps)
    assert result.latency.max >= 40 * (1e3 * BUSY_S - 1e3 / fps)


async def test_what_a_slow_server_drops_is_told() -> None:
    async with load_on(networks(pose=SlowPose()), streams=2, fps=30.0, seconds=1.0) as (server, rig):
        measured = await rig.record()
        check_accounts(server, measured)
    result = summarise(measured)
    assert result.frames.drops == {"superseded": result.frames.dropped}
    assert result.frames.dropped >= 30  # of 60, since the server can process 20
    assert result.lost_share == pytest.approx(result.frames.dropped / 60)
    assert result.age is not None
    assert result.latency is not None
    assert result.age.p50 >= 1e3 * BUSY_S


async def test_what_is_never_answered_has_waited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig_module, "_PATIENCE_S", 0.2)
    gate = Gate()
    gate.open.set()  # to warm up
    async with load_on(networks(pose=gate), fps=10.0, seconds=0.5, max_lateness_ms=10_000.0) as (_, rig):
        gate.open.clear()
        result = await rig.measure()
        gate.open.set()
    assert result.frames.tracked == 0
    assert result.frames.open >= 1
    assert result.faults == ()  # a result, not a fault
    assert not result.valid  # but not a success
    assert "NOT VALID: not one frame was tracked" in result.as_text()
    assert result.latency is not None
    assert result.latency.max >= 1200  # the schedule of a second, and the patience


async def test_a_server_that_refuses_is_told_in_its_words() -> None:
    async with load_on(networks(), slots=2, streams=4) as (_, rig):
        with pytest.raises(
            StreamsRefused,
            match="refuses 4 streams: this server has no place for another stream",
        ):
            await rig.record()


@pytest.mark.parametrize(
    ("per_s", "patience_s", "refused"),
    [
        (2.0, 10.0, nullcontext()),
        # the next opening would take too long
        (0.1, 0.2, pytest.raises(grpc.aio.AioRpcError, match=r"limits\.max_openings_per_s")),
    ],
)
async def test_streams_that_are_opened_too_often_are_tried_again_for_a_while(
    per_s: float, patience_s: float, refused: AbstractContextManager[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openings_module, "_MOST_WAIT_S", 0.0)
    monkeypatch.setattr(sender_module, "_PAUSE_S", 0.1)
    monkeypatch.setattr(sender_module, "_OPENING_S", patience_s)
    opening = track_pb2.TrackRequest(config=settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG))
    (clip,) = make_footage(CLIP)
    limits = LimitsConfig(max_streams=2, max_openings_per_s=per_s)
    async with running_server(server_config(limits=limits), networks()) as address:

        async def open_stream() -> None:
            connection = own_connection(ServerAccess((address,)))
            try:
                schedule = Schedule(streams=1, fps=1.0, seconds=1.0)
                stream = SendingStream(connection.to(connection.preferred), clip, schedule, 0, with_boxes=True)
                await stream.open(opening)
            finally:
                await connection.aclose()

        for _ in range(2):
            await open_stream()
        with refused:
            await open_stream()


async def test_metrics_that_cannot_be_read_are_told_before_anything_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rig_module, "make_footage", pytest.fail)
    async with running_server(server_config(), networks()) as address:
        options = LoadOptions(clip=CLIP, server=ServerAccess((address,)), metrics_url=f"http://{address}/metrics")
        with pytest.raises(OSError, match="no metrics can be read"):
            async with load_rig(options):
                pass


async def test_a_generator_ends_with_whoever_started_it(tmp_path: Path) -> None:
    async with load_on(networks(), fps=20.0) as (server, rig):
        opening = track_pb2.TrackRequest(config=settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG))
        plan = GeneratorPlan(
            accesses=[access_fields(access) for access in rig.accesses],
            footage=[str(path) for path in rig.footage],
            streams=[0],
            of=1,
            fps=20.0,
            send_s=3600.0,
            counted_s=(0.0, 3600.0),
            patience_s=10.0,
            first_request=base64.b64encode(opening.SerializeToString()).decode(),
            with_boxes=True,
            records=str(tmp_path / "records.npy"),
        )
        program = [sys.executable, "-m", "posewire_benchmark.load.generator"]
        pipe = subprocess.PIPE
        # Not asyncio's, since each end of a pipe is closed separately.
        with subprocess.Popen(program, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0) as process:  # noqa: ASYNC220
            assert process.stdin is not None
            assert process.stdout is not None
            assert process.stderr is not None
            try:
                async with asyncio.timeout(_LIMIT_S):
                    process.stdin.write(json.dumps(dataclasses.asdict(plan)).encode() + b"\n")
                    assert await asyncio.to_thread(process.stdout.readline) == b"ready\n"
                    process.stdin.write(f"{time.monotonic()}\n".encode())
                    while not counted(server, "frames_tracked"):  # noqa: ASYNC110  the server counts; it tells nobody
                        await asyncio.sleep(0.01)
                    process.stdin.close()
                    process.stdout.close()
                    assert await asyncio.to_thread(process.stderr.read) == b""
                    assert await asyncio.to_thread(process.wait, _LIMIT_S) == 0
            finally:
                process.kill()  # no thread may go on waiting for it


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[ServerConfig]:
    """Run private servers in this process with stand-ins; returns the configurations they were started with."""
    started: list[ServerConfig] = []

    @asynccontextmanager
    async def private_server(
        config: ServerConfig, *, inject_people: int, bare: bool, tokens: int
    ) -> AsyncIterator[PrivateServer]:
        started.append(config)
        file = tmp_path / "tokens"
        given = make_tokens(file, tokens)
        security = SecurityConfig(tokens=file) if tokens else SecurityConfig()
        async with running_server(server_config(limits=config.limits, security=security), networks()) as address:
            yield PrivateServer([ServerAccess((address,), token=token) for token in given or [""]], os.getpid(), "")

    monkeypatch.setattr(rig_module, "private_server", private_server)
    return started


SCARCE = ServerConfig(detector="none", limits=LimitsConfig(max_streams=1, max_openings_per_s=0.1))


async def test_a_private_server_lets_all_streams_be_opened_anew_for_every_measurement(
    own_server: list[ServerConfig],
) -> None:
    async with load_rig(LoadOptions(clip=CLIP, server=SCARCE), most_streams=200):
        pass
    (config,) = own_server
    assert config.limits.max_streams >= 200
    assert config.limits.max_openings_per_s >= 200


async def test_who_opens_streams_all_the_time_uses_up_what_is_theirs(own_server: list[ServerConfig]) -> None:
    options = LoadOptions(
        clip=CLIP, server=SCARCE, streams=4, fps=10.0, seconds=0.3, warm_up_s=0.0, drop_policy=DropPolicy.ALL
    )
    async with load_rig(options, callers=3) as rig:
        asked = InterferenceOptions(load=options, kind=HostileKind.RECONNECT, rounds=1)
        found = await run_interference(rig, asked)
    (config,) = own_server
    assert config.limits.max_openings_per_s == 0.1  # what is measured
    assert found.beside.frames.tracked == found.without.frames.tracked == 12
    assert 0 < found.rounds[0].hostile.attacks < 2 * config.limits.max_streams


async def test_only_the_gpu_of_a_private_server_is_known(
    own_server: list[ServerConfig], monkeypatch: pytest.MonkeyPatch
) -> None:
    devices: list[str] = []

    async def gpu_of(device: str) -> str:
        devices.append(device)
        return ""

    monkeypatch.setattr(rig_module, "gpu_of", gpu_of)
    async with load_on(networks()):
        assert devices == []
    async with load_rig(LoadOptions(clip=CLIP)):
        assert devices == ["cpu"]


async def test_streams_that_the_server_ends_make_the_figures_void() -> None:
    async with load_on(networks(), streams=2, fps=20.0, seconds=4.0) as (server, rig):
        measuring = asyncio.create_task(rig.record())
        async with asyncio.timeout(_LIMIT_S):
            while counted(server, "frames_tracked") < 2:  # noqa: ASYNC110  the server counts; it tells nobody
                await asyncio.sleep(0.01)
            await server.stop()
            result = summarise(await measuring)
    assert not result.valid
    assert any("2 streams ended early" in fault for fault in result.faults)


async def test_a_server_that_tells_nothing_any_more_costs_what_it_would_have_told(unused_tcp_port: int) -> None:
    async with load_on(networks(), fps=10.0, seconds=0.3, drop_policy=DropPolicy.ALL) as (_, rig):
        rig.metrics_urls = [f"http://127.0.0.1:{unused_tcp_port}/metrics"]  # where nothing answers any more
        result = await rig.measure()
    assert result.frames.tracked == 3
    assert (result.batches, result.utilisation.server_cores) == (None, None)


@pytest.mark.parametrize("kind", HostileKind)
async def test_a_hostile_client_attacks_beside_the_load(kind: HostileKind) -> None:
    # Any lateness is accepted: the machine may be busy, and rounds that do not count are tested elsewhere.
    options = {"streams": 1, "fps": 10.0, "seconds": 0.3, "drop_policy": DropPolicy.ALL, "max_lateness_ms": 10_000.0}
    async with load_on(networks(), **options) as (_, rig):
        found = await run_interference(rig, InterferenceOptions(load=rig.options, kind=kind, rounds=1))
    (only,) = found.rounds
    assert only.hostile.attacks > 0
    assert found.ratio is not None
    assert found.ratio == only.ratio
    assert found.beside.frames.tracked == found.without.frames.tracked == 3
    assert f"{kind}: p95 of the others is" in found.as_text()
    assert "Median ratio" in TABLES["hostile"](json.loads(json.dumps(found.as_json())))


async def test_injected_people_are_found_in_every_frame() -> None:
    stand_ins = with_injected_people(networks(), 5)
    async with load_on(stand_ins, boxes=BoxesFrom.DETECTOR, fps=10.0, seconds=0.5, drop_policy=DropPolicy.ALL) as (
        _,
        rig,
    ):
        measured = await rig.record()
    assert set(measured.records["people"].tolist()) <= set(range(6))
    assert (measured.records["stages_ms"][:, 2] > 0).all()  # the detector itself ran
    with pytest.raises(ValueError, match="give --detector"):
        with_injected_people(networks(detector=None), 5)


async def test_the_command_loads_a_server_that_wants_tls_and_a_token(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    identity = authority.issue("server")
    token, line = new_token(TokenGrant(name="load"))
    append_line(tmp_path / "tokens", line)
    (tmp_path / "token").write_text(token)
    security = SecurityConfig(tls_cert=identity.cert, tls_key=identity.key, tokens=tmp_path / "tokens")
    async with running_server(server_config(security=security), networks()) as address:
        arguments = [
            *("load", "--server", address, "--ca", str(authority.cert), "--token-file", str(tmp_path / "token")),
            *("--fps", "10", "--seconds", "0.3", "--warm-up", "0", "--size", "160x120", "--people", "2"),
            *("--drop-policy", "all", "--json", "-"),
        ]
        result = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        assert result.exit_code == 0, result.output
        figures = json.loads(result.stdout)
        assert (figures["frames"]["due"], figures["frames"]["tracked"]) == (3, 3)


async def test_streams_are_dealt_to_several_servers_whose_metrics_are_added_up() -> None:
    load = {"streams": 4, "fps": 10.0, "seconds": 0.5, "warm_up_s": 0.0, "drop_policy": DropPolicy.ALL}
    options = LoadOptions(clip=CLIP, without_networks=True, boxes=BoxesFrom.INJECTED, servers=2, **load)  # type: ignore[arg-type]
    async with load_rig(options) as rig:
        assert len({access.addresses for access in rig.accesses}) == 2
        result = await rig.measure()
        each = [await scrape(url) for url in rig.metrics_urls]
    assert result.frames.tracked == 20
    assert result.people == CLIP.people
    tracked = [0.0 if told is None else told.values["posewire_frames_tracked_total"] for told in each]
    assert min(tracked) > 0
    assert abs(tracked[0] - tracked[1]) <= 2  # a frame for each of its two streams
    assert result.batches is not None
    assert result.batches["pose"].count >= 10
