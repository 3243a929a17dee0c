"""Nothing grows: at the server, with frames and with streams, and at the client. And a server that leaks is caught."""

from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from posewire import AsyncClient, Client
from tests.processes.server_process import ServerProcess, serving
from tests.server.stand_ins import jpeg, picture
from tests.stress.scale import SCALE

# A frame of this size is 2.8 MB once decoded. Whoever keeps one in twenty is found out.
_FRAME = jpeg(picture(size=(720, 1280)))
_FRAME_MB = 720 * 1280 * 3 / 1e6
_WARM_UP_FRAMES = 40


def _most_growth_mb(frames: int) -> float:
    """What threads and allocators take until they have enough, and a twentieth of all frames."""
    return 25.0 + min(frames * _FRAME_MB / 20, 100.0)


def _track(address: str, frames: int) -> None:
    with Client(address) as client, client.track() as stream:
        for _ in range(frames):
            stream.send(_FRAME)
            assert next(iter(stream)).tracked
        stream.finish()
        assert list(stream) == []
        assert stream.summary is not None
        assert stream.summary.tracked == frames


def one_stream(address: str) -> int:
    _track(address, SCALE.frames)
    return SCALE.frames


def many_streams(address: str) -> int:
    for _ in range(SCALE.cycles):
        _track(address, 1)
    return SCALE.cycles


def growth_mb(server: ServerProcess, work: Callable[[str], int]) -> tuple[float, float]:
    """How much the server grew over some work, and how much would be too much."""
    process = psutil.Process(server.pid)
    _track(server.address, _WARM_UP_FRAMES)
    before = process.memory_info().rss
    frames = work(server.address)
    grown = (process.memory_info().rss - before) / 1e6
    print(f"\n{work.__name__}: {frames} frames, {grown:+.1f} MB")
    return grown, _most_growth_mb(frames)


@pytest.mark.parametrize("work", [one_stream, many_streams])
def test_a_servers_memory_stays_flat(server: ServerProcess, work: Callable[[str], int]) -> None:
    grown, too_much = growth_mb(server, work)
    assert grown < too_much


@pytest.fixture
def leaking_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ServerProcess]:
    monkeypatch.setenv("POSEWIRE_TEST_LEAK", "1")
    with serving(tmp_path, "--log-level", "error") as process:
        yield process


def test_a_server_that_leaks_is_caught(leaking_server: ServerProcess) -> None:
    """The control: with the same work and the same limits as above, in the short form."""

    def some_streams(address: str) -> int:
        for _ in range(25):
            _track(address, 1)
        return 25

    def some_frames(address: str) -> int:
        _track(address, 50)
        return 50

    for work in (some_streams, some_frames):
        grown, too_much = growth_mb(leaking_server, work)
        assert grown > too_much


# -- the client --------------------------------------------------------------------------------------------------------


def _handles() -> tuple[int, set[str]]:
    gc.collect()
    threads = {thread.name for thread in threading.enumerate() if thread.name.startswith("posewire")}
    return psutil.Process().num_fds(), threads


def test_a_client_leaves_no_threads_and_no_sockets(server: ServerProcess) -> None:
    def open_and_close(how: int) -> None:
        with Client(server.address) as client:
            if how == 0:  # to its end
                assert len(list(client.track([picture()]))) == 1
            elif how == 1:  # left in the middle
                for _ in client.track(picture() for _ in range(100)):
                    break
            elif how == 2:  # opened and not used
                with client.track():
                    pass
            else:
                client.server_info()

    for cycle in range(8):
        open_and_close(cycle % 4)
    sockets, threads = _handles()
    for cycle in range(200):
        open_and_close(cycle % 4)
    sockets_after, threads_after = _handles()
    assert sockets_after <= sockets + 5  # gRPC closes them in its own time
    assert threads_after <= threads


async def test_an_asynchronous_client_leaves_no_tasks(server: ServerProcess) -> None:
    before = asyncio.all_tasks()
    for cycle in range(50):
        async with AsyncClient(server.address) as client, client.track() as stream:
            await stream.send(picture())
            if cycle % 2:
                assert (await anext(stream)).tracked
                await stream.finish()
    await asyncio.sleep(0)
    assert {task.get_name() for task in asyncio.all_tasks() - before if task.get_name().startswith("posewire")} == set()
