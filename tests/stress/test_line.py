"""A line that delays, cuts and corrupts: what can be saved is saved, and everything ends."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest

import posewire
from posewire import AsyncClient, FrameResult, ReconnectSettings
from tests.processes.proxy import Proxy, spoilt_line
from tests.processes.server_process import ServerProcess
from tests.server.stand_ins import picture
from tests.stress.scale import SCALE

PATIENT = ReconnectSettings(initial_s=0.02, max_s=0.2, give_up_after_s=60)


def walk(step: int) -> Any:
    return picture(abs(step % 40 - 20), people=3)


async def tracked_through(proxy: Proxy, frames: int, spoil: Any) -> tuple[list[FrameResult], posewire.StreamSummary]:
    """A stream through the proxy; `spoil` is called with each result."""
    async with AsyncClient(proxy.address, reconnect=PATIENT) as client, client.track() as stream:

        async def send() -> None:
            for number in range(frames):
                await stream.send(walk(number))
            await stream.finish()

        results = []
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            async for result in stream:
                results.append(result)
                spoil(result)
        assert stream.summary is not None
        return results, stream.summary


async def test_a_slow_line_changes_nothing_but_the_time(server: ServerProcess) -> None:
    async with spoilt_line(server.address) as proxy:
        proxy.delay_s = 0.02
        results, summary = await tracked_through(proxy, 30, lambda result: None)
    assert [result.frame for result in results] == list(range(30))
    assert {tuple(sorted(person.id for person in result.people)) for result in results} == {(1, 2, 3)}
    assert summary.reconnects == 0


async def test_a_line_that_is_cut_again_and_again_costs_no_frame_and_no_id(server: ServerProcess) -> None:
    cuts, every = SCALE.proxy_faults, 7
    async with spoilt_line(server.address) as proxy:

        def cut(result: FrameResult) -> None:
            if result.frame % every == every - 1 and result.frame < cuts * every:
                proxy.cut()

        results, summary = await tracked_through(proxy, (cuts + 1) * every, cut)
    assert [result.frame for result in results] == list(range((cuts + 1) * every))
    assert all(result.tracked for result in results)
    assert {tuple(sorted(person.id for person in result.people)) for result in results} == {(1, 2, 3)}
    assert summary.frames == summary.sent == summary.tracked
    assert 0 < summary.reconnects <= cuts
    assert all(result.reconnected.resumed for result in results if result.reconnected is not None)


async def test_a_pulled_cable_is_noticed(server: ServerProcess) -> None:
    """As by default within 30 s; here a tenth of that."""
    keepalive = [("grpc.keepalive_time_ms", 2000), ("grpc.keepalive_timeout_ms", 1000)]
    async with (
        spoilt_line(server.address) as proxy,
        AsyncClient(proxy.address, reconnect=PATIENT, options=keepalive) as client,
        client.track() as stream,
    ):
        await stream.send(walk(0))
        before = await anext(stream)
        proxy.pull_the_cable()
        await stream.send(walk(1))
        async with asyncio.timeout(50):  # timeout_s, after which it would be noticed anyway, is 60
            after = await anext(stream)
    assert after.tracked
    assert after.reconnected is not None
    assert after.reconnected.resumed
    assert [person.id for person in after.people] == [person.id for person in before.people]


async def test_a_line_that_corrupts_hurts_nobody_else(server: ServerProcess) -> None:
    """TCP would notice; this stands for a broken card, or a hostile neighbour. Nothing hangs, nothing crashes."""
    endings: list[str] = []
    async with spoilt_line(server.address, seed=1) as proxy:
        proxy.corrupts = 20
        for _ in range(SCALE.proxy_faults):
            try:
                async with asyncio.timeout(150):  # a spoilt length may cost the 60 s after which silence is noticed
                    _, summary = await tracked_through(proxy, 40, lambda result: None)
                assert summary.frames == summary.tracked + summary.failed + summary.dropped
                endings.append("in order")
            except* posewire.PosewireError as group:
                endings += [type(error).__name__ for error in group.exceptions]
        assert proxy.faults
    print(f"\n{proxy.faults} bits changed; streams ended: {sorted(endings)}")
    assert server.exit_status is None
    async with AsyncClient(server.address) as client, client.track([walk(step) for step in range(5)]) as stream:
        assert [len(result.people) async for result in stream] == [3] * 5


@pytest.mark.parametrize("size", [(240, 320), (1080, 1920)])
async def test_no_picture_is_too_large_for_a_slow_line(server: ServerProcess, size: tuple[int, int]) -> None:
    async with spoilt_line(server.address) as proxy:
        proxy.delay_s = 0.005
        async with AsyncClient(proxy.address) as client:
            noise = np.random.default_rng(0).integers(0, 255, (*size, 3), dtype=np.uint8)
            estimate = await client.estimate_poses(noise, boxes=[[10, 10, 100, 200]])
    assert estimate.size == (size[1], size[0])
