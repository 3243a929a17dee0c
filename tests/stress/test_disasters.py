"""Servers that die, drain or hang under many clients, at moments that chance chooses."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from contextlib import suppress

import pytest

from posewire import AsyncClient, ConnectionLost, FrameResult, PosewireError, ReconnectSettings
from tests.processes.server_process import ServerProcess, serving
from tests.server.stand_ins import picture
from tests.stress.scale import SCALE

PATIENT = ReconnectSettings(initial_s=0.05, max_s=1.0, give_up_after_s=300)
CLIENTS = 5


async def follow(address: str, people: int, over: asyncio.Event) -> tuple[int, int]:
    """A client that goes on until it is told to stop; gives how many frames, and how many reconnects."""
    async with AsyncClient(address, reconnect=PATIENT, timeout_s=20) as client, client.track() as stream:
        taken: list[FrameResult] = []

        async def send() -> None:
            number = 0
            while not over.is_set():
                await stream.send(picture(abs(number % 40 - 20), people=people))
                number += 1
                await asyncio.sleep(0.01)
            await stream.finish()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            async for result in stream:
                assert result.tracked
                assert sorted(person.id for person in result.people) == list(range(1, people + 1))
                taken.append(result)
        assert [result.frame for result in taken] == list(range(len(taken)))
        assert stream.summary is not None
        assert stream.summary.tracked == stream.summary.sent == len(taken)
        return len(taken), stream.summary.reconnects


@pytest.fixture(scope="module")
def only_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with serving(tmp_path_factory.mktemp("mortal"), "--log-level", "error") as process:
        yield process


@pytest.fixture
def mortal(only_server: ServerProcess) -> ServerProcess:
    """A server that a test may leave dead."""
    if only_server.exit_status is not None:
        only_server.start()
    return only_server


async def test_clients_outlive_their_servers(mortal: ServerProcess) -> None:
    chance = random.Random(5)

    def kill() -> None:
        mortal.kill()
        mortal.start()

    def redeploy() -> None:
        mortal.terminate()
        mortal.start()

    over = asyncio.Event()
    clients = [asyncio.create_task(follow(mortal.address, 1 + index % 4, over)) for index in range(CLIENTS)]
    disasters = [kill, redeploy]
    for number in range(SCALE.disasters):
        await asyncio.sleep(chance.uniform(0.2, 1.5))
        await asyncio.to_thread(disasters[number % len(disasters)])
    await asyncio.sleep(0.5)
    over.set()
    outcomes = await asyncio.gather(*clients)
    print(f"\n{SCALE.disasters} disasters; frames and reconnects of each client: {outcomes}")
    for frames, reconnects in outcomes:
        assert frames > 0
        assert 1 <= reconnects <= 2 * SCALE.disasters


async def test_a_server_that_hangs_for_a_while_is_waited_for(mortal: ServerProcess) -> None:
    over = asyncio.Event()
    client = asyncio.create_task(follow(mortal.address, 2, over))
    for _ in range(SCALE.disasters):
        await asyncio.sleep(0.2)
        mortal.suspend()
        await asyncio.sleep(0.3)
        mortal.wake()
    over.set()
    frames, reconnects = await client
    assert frames > 0
    assert reconnects == 0


async def load_until_drained(address: str, busy: asyncio.Barrier) -> str:
    """A client that sends as fast as it is let; gives why its stream ended."""
    once = ReconnectSettings(give_up_after_s=0)
    async with AsyncClient(address, reconnect=once) as client, client.track() as stream:

        async def send() -> None:
            with suppress(PosewireError):
                for number in range(100_000):
                    if number == 2:
                        await busy.wait()
                    await stream.send(picture(abs(number % 40 - 20)))

        sending = asyncio.create_task(send())
        try:
            async for result in stream:
                assert result.tracked
        except ConnectionLost as error:
            return str(error)
        finally:
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
    return "in order"


@pytest.mark.parametrize("streams", [20])
async def test_sigterm_under_load(mortal: ServerProcess, streams: int) -> None:
    """Every stream is told, and the process goes by itself, in the time that it promises."""
    busy = asyncio.Barrier(streams + 1)
    loads = [asyncio.create_task(load_until_drained(mortal.address, busy)) for _ in range(streams)]
    await busy.wait()
    gone_after_s = await asyncio.to_thread(mortal.terminate)
    endings = await asyncio.gather(*loads)
    print(f"\n{streams} streams; gone {gone_after_s:.2f} s after SIGTERM")
    assert mortal.exit_status == 0
    assert gone_after_s < 3.0  # usually a tenth of that
    assert ["the server has drained the stream" in ending for ending in endings] == [True] * streams
