"""Clients that stall, flood, disappear and come back in a loop, beside one that means no harm."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress

import grpc
import numpy as np
import pytest

from posewire import AsyncClient
from tests.integration.service_calls import ALL, LATEST, TrackClient, connected
from tests.processes.server_process import ServerProcess
from tests.server.stand_ins import jpeg, picture
from tests.stress.scale import SCALE

Attack = Callable[[str], Awaitable[None]]

_PICTURE = jpeg(picture())


async def open_and_say_nothing(address: str) -> None:
    async with connected(address) as stub:
        calls = [stub.Track() for _ in range(20)]
        await asyncio.gather(*(call.wait_for_connection() for call in calls))
        await asyncio.sleep(0.2)
        for call in calls:
            call.cancel()


async def send_and_never_read(address: str) -> None:
    async with connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=LATEST)
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                for number in range(100_000):
                    await client.send(number, b"nonsense")
        client.call.cancel()


async def flood_with_pictures(address: str) -> None:
    async with connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=LATEST)

        async def read() -> None:
            with suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
                while await client.read() is not None:
                    pass

        reading = asyncio.create_task(read())
        with suppress(TimeoutError):
            async with asyncio.timeout(0.5):
                for number in range(100_000):
                    await client.send(number, _PICTURE)
        client.call.cancel()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def disappear(address: str) -> None:
    for frames in range(10):
        async with connected(address) as stub:
            client = TrackClient(stub)
            await client.open(drop_policy=ALL)
            for number in range(frames):
                await client.send(number, _PICTURE)
            # The line goes down with the call open.


async def come_back_in_a_loop(address: str) -> None:
    async with connected(address) as stub:
        for _ in range(50):
            client = TrackClient(stub)
            await client.open(drop_policy=ALL)
            client.call.cancel()


async def ask_for_the_impossible(address: str) -> None:
    boxes = np.tile([[10, 10, 40, 40]], (100, 1))
    async with connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        for number in range(20):
            await client.send(number, _PICTURE, boxes)
        await client.finish()


@pytest.mark.parametrize(
    "attack",
    [
        open_and_say_nothing,
        send_and_never_read,
        flood_with_pictures,
        disappear,
        come_back_in_a_loop,
        ask_for_the_impossible,
    ],
)
async def test_a_faithful_client_gets_all_its_results(server: ServerProcess, attack: Attack) -> None:
    over = asyncio.Event()

    async def attacks() -> None:
        for _ in range(SCALE.hostile_rounds):
            await attack(server.address)
        over.set()

    async with AsyncClient(server.address, reconnect=None) as client, client.track() as stream:
        attacking = asyncio.create_task(attacks())
        frames = 0
        while not over.is_set() or frames < 20:
            assert not attacking.done() or over.is_set(), attacking.exception()
            await stream.send(picture(abs(frames % 40 - 20)))
            result = await anext(stream)
            assert sorted(person.id for person in result.people) == [1, 2]
            frames += 1
        await attacking
        await stream.finish()
        assert [result async for result in stream] == []
        assert stream.summary is not None
        assert stream.summary.tracked == frames
        info = await client.server_info()
        while info.active_streams > 0:
            await asyncio.sleep(0.01)  # the last ones may still be on their way out
            info = await client.server_info()
