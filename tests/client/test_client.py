from __future__ import annotations

import asyncio
import contextlib
import gc
import pickle
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import grpc
import pytest

import posewire
from posewire import Client
from posewire._threads.loop_thread import LoopThread
from tests.client.conftest import pictures


async def in_a_thread(program: Callable[[], Any]) -> Any:
    """Run a program without an event loop, while the server runs in the test's."""
    return await asyncio.to_thread(program)


async def test_a_loop_over_results_is_all_it_takes(serve: Any) -> None:
    server = await serve()

    def program() -> list[tuple[int, int]]:
        with Client(server.address) as client:
            assert client.server_info().version == "9.9"
            assert len(client.estimate_poses(pictures(1)[0], boxes=[[0, 0, 4, 4]]).people) == 1
            return [(result.frame, result.people[0].id) for result in client.track(pictures(12), similarity="pose")]

    assert await in_a_thread(program) == [(number, 7) for number in range(12)]


async def test_an_opened_stream_has_its_facts_and_its_account(serve: Any) -> None:
    server = await serve()

    def program() -> None:
        with Client(server.address) as client:
            with client.track(pictures(3), keep_images=True) as stream:
                assert stream.info.joint_set.name == "three"
                assert stream.source is not None
                assert stream.source.fps == 25
                assert stream.summary is None
                assert [result.image is not None for result in stream] == [True] * 3
            assert stream.summary is not None
            assert stream.summary.tracked == 3

    await in_a_thread(program)


async def test_leaving_the_loop_ends_the_stream_at_the_server(serve: Any) -> None:
    server = await serve()

    def endless() -> Iterator[Any]:
        while True:
            yield from pictures(5)

    def program() -> None:
        with Client(server.address) as client:
            for result in client.track(endless()):
                if result.frame == 4:
                    break
            # The call is cancelled although the client stays open.
            assert asyncio.run_coroutine_threadsafe(wait(), loop).result(5)

    async def wait() -> bool:
        return await server.service.ended.wait()

    loop = asyncio.get_running_loop()
    await in_a_thread(program)


async def test_the_program_sends_frames_of_its_own(serve: Any) -> None:
    server = await serve()

    def program() -> list[int]:
        with Client(server.address) as client, client.track() as stream:
            for picture in pictures(3):
                stream.send(picture)
            stream.finish()
            return [result.frame for result in stream]

    assert await in_a_thread(program) == [0, 1, 2]


async def test_errors_are_those_of_the_asynchronous_client(unused_tcp_port: int) -> None:
    def program() -> None:
        with Client(f"127.0.0.1:{unused_tcp_port}") as client:
            with pytest.raises(posewire.ConnectionFailed, match=str(unused_tcp_port)):
                client.server_info()
            with pytest.raises(posewire.SourceError, match=r"gone\.mp4"):
                list(client.track("gone.mp4"))
            with pytest.raises(posewire.InvalidSettings, match="similarity"):
                client.track(similarity="iou")  # type: ignore[arg-type]
        with pytest.raises(posewire.MisuseError, match="closed"):
            client.server_info()
        client.close()

    await in_a_thread(program)


async def test_an_iterable_of_the_program_may_fail(serve: Any) -> None:
    server = await serve()

    def frames() -> Iterator[Any]:
        yield pictures(1)[0]
        raise LookupError("no more disk")

    def program() -> None:
        with Client(server.address) as client:
            results = iter(client.track(frames()))
            assert next(results).frame == 0
            with pytest.raises(LookupError, match="no more disk"):
                next(results)

    await in_a_thread(program)


async def test_several_threads_may_use_one_client(serve: Any) -> None:
    server = await serve()
    counts: dict[int, int] = {}

    def program() -> None:
        with Client(server.address) as client:

            def run(count: int) -> None:
                counts[count] = sum(1 for _ in client.track(pictures(count)))

            threads = [threading.Thread(target=run, args=(count,)) for count in range(1, 5)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    await in_a_thread(program)
    assert counts == {count: count for count in range(1, 5)}


async def test_threads_that_use_a_new_client_together_share_one_loop(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    together = threading.Barrier(2)
    loops: list[LoopThread] = []

    class Slow(LoopThread):
        def __init__(self) -> None:
            # If two threads can be here at the same time, this makes it happen.
            with contextlib.suppress(threading.BrokenBarrierError):
                together.wait(0.2)
            super().__init__()
            loops.append(self)

    monkeypatch.setattr("posewire._client.LoopThread", Slow)

    def program() -> None:
        client = Client(server.address)
        threads = [threading.Thread(target=client.server_info) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        client.close()

    await in_a_thread(program)
    assert len(loops) == 1
    assert not loops[0].is_running


async def test_closing_the_client_ends_a_call_of_another_thread(serve: Any) -> None:
    async def silent(stream: Any) -> Any:
        called.set()
        await asyncio.Event().wait()
        yield

    called = asyncio.Event()
    server = await serve(silent)
    client = await in_a_thread(lambda: Client(server.address).__enter__())
    opening = asyncio.ensure_future(in_a_thread(lambda: list(client.track())))
    await called.wait()
    await in_a_thread(client.close)
    with pytest.raises(posewire.MisuseError, match="closed before its end"):
        await opening


async def test_closing_the_client_in_mid_stream_leaves_nothing(serve: Any) -> None:
    server = await serve()

    def program() -> None:
        client = Client(server.address)
        results = iter(client.track(pictures(50)))
        next(results)
        client.close()
        with pytest.raises(posewire.MisuseError, match="closed"):
            list(results)

    await in_a_thread(program)


@pytest.mark.usefixtures("no_cycle_collector")
@pytest.mark.parametrize("closes_client", [False, True])
async def test_results_left_half_read_are_released_wherever_the_cycle_collector_runs(
    serve: Any, closes_client: bool
) -> None:
    server = await serve()

    def results(client: Client) -> Iterator[posewire.FrameResult]:
        if closes_client:
            with client:
                yield from client.track(pictures(50))
        else:
            yield from client.track(pictures(50))

    def read_one(client: Client) -> None:
        cycle: list[Any] = [results(client)]
        cycle.append(cycle)
        next(cycle[0])

    async def collect() -> None:
        gc.collect()

    def program() -> None:
        client = Client(server.address)
        read_one(client)
        client._running().run(collect())  # in the thread of the loop
        assert asyncio.run_coroutine_threadsafe(wait(), loop).result(5)
        client.close()

    async def wait() -> bool:
        return await server.service.ended.wait()

    loop = asyncio.get_running_loop()
    thread = threading.Thread(target=program, daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, 10)
    assert not thread.is_alive()


@pytest.mark.usefixtures("no_cycle_collector")
@pytest.mark.parametrize("found_in", ["the program", "a cycle", "the loop's own thread"])
async def test_a_client_that_is_forgotten_closes(serve: Any, found_in: str) -> None:
    server = await serve()
    loops: list[LoopThread] = []

    def use_and_forget() -> None:
        client = Client(server.address)
        stream = client.track(pictures(50)).__enter__()
        next(iter(stream))
        loops.append(client._running())
        if found_in != "the program":
            client._itself = client  # type: ignore[attr-defined]

    async def collect() -> None:
        gc.collect()

    def program() -> None:
        use_and_forget()
        if found_in == "a cycle":
            gc.collect()
        elif found_in != "the program":
            with contextlib.suppress(posewire.MisuseError):  # the client of this call is closed by it
                loops[0].run(collect())
        loops[0]._thread.join(10)

    thread = threading.Thread(target=program, daemon=True)
    thread.start()
    await asyncio.to_thread(thread.join, 20)
    assert not thread.is_alive()
    assert not loops[0]._thread.is_alive()
    async with asyncio.timeout(5):
        await server.service.ended.wait()


async def test_a_stream_keeps_its_client(serve: Any) -> None:
    server = await serve()

    def program() -> list[int]:
        stream = Client(server.address).track(pictures(12))
        gc.collect()
        return [result.frame for result in stream]

    assert await in_a_thread(program) == list(range(12))


async def test_a_stream_that_is_not_open_says_how_to_open_it(serve: Any) -> None:
    server = await serve()

    def program() -> None:
        with Client(server.address) as client, pytest.raises(posewire.MisuseError, match="in `with client"):
            client.track(pictures(1)).info  # noqa: B018  which is the mistake under test

    await in_a_thread(program)


async def run_to_its_end(program: str, address: str) -> str:
    """Run a program in a fresh interpreter, which must exit; returns what it prints."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, address, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(30):
            printed, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.communicate()
    assert process.returncode == 0, printed.decode()
    return printed.decode()


async def test_results_left_half_read_are_released_at_the_end_of_the_interpreter(serve: Any) -> None:
    server = await serve()
    program = """
import itertools, sys, numpy, posewire
from posewire.sources import ArraySource
class Camera(ArraySource):
    def close(self):
        print("closed", flush=True)
client = posewire.Client(sys.argv[1])
results = iter(client.track(Camera(itertools.repeat(numpy.zeros((48, 64, 3), numpy.uint8)))))
print(next(results).frame, flush=True)
"""
    assert await run_to_its_end(program, server.address) == "0\nclosed\n"


async def test_threads_go_on_after_the_main_thread_has_come_to_its_end(serve: Any) -> None:
    server = await serve()
    program = """
import sys, threading, numpy, posewire
image = numpy.zeros((48, 64, 3), numpy.uint8)
tracking = threading.Event()
def work():
    with posewire.Client(sys.argv[1]) as client:
        results = iter(client.track([image] * 50))
        next(results)
        tracking.set()
        threading.main_thread().join()
        print(sum(result.tracked for result in results), len(client.estimate_poses(image, boxes=[[0, 0, 4, 4]]).people))
threading.Thread(target=work).start()
tracking.wait()
"""
    assert await run_to_its_end(program, server.address) == "49 1\n"


def test_neither_a_client_nor_a_stream_can_be_passed_to_another_process() -> None:
    with Client() as client:
        for part in (client, client.track()):
            with pytest.raises(posewire.MisuseError, match="make a client in each process"):
                pickle.dumps(part)


FORK = """
import gc, multiprocessing, sys, numpy, posewire
images = [numpy.zeros((48, 64, 3), numpy.uint8)] * 9

def track(client):
    with client, client.track(images) as stream:
        for result in stream:
            print(result.frame, client.server_info().version, flush=True)
            break
    return stream  # which nobody closes once more

def child(client):
    try:
        track(client or posewire.Client(sys.argv[1]))
    except posewire.MisuseError as error:
        print(error, flush=True)

def fork(client=None):
    process = multiprocessing.get_context("fork").Process(target=child, args=[client])
    process.start()
    process.join(10)
    print("exit code", process.exitcode, flush=True)
    process.kill()

gc.disable()
unused = posewire.Client(sys.argv[1])
"""


async def forked(program: str, address: str) -> list[str]:
    """What a forking program prints, without gRPC's own messages about it."""
    printed = await run_to_its_end(FORK + program, address)
    return [line for line in printed.splitlines() if "fork_posix.cc" not in line and "absl::" not in line]


async def test_a_process_that_is_forked_when_all_clients_are_closed_may_connect(serve: Any) -> None:
    server = await serve()
    program = """
stream = track(posewire.Client(sys.argv[1]))
fork()
fork(unused)
for ask in (posewire.Client.server_info, lambda client: client.estimate_poses(images[0])):
    with posewire.Client(sys.argv[1]) as client:
        ask(client)
    fork()
"""
    printed = await forked(program, server.address)
    assert printed == ["0 9.9", *["0 9.9", "exit code 0"] * 4]


async def test_a_process_that_is_forked_beside_an_open_client_is_told_that_it_cannot_connect(serve: Any) -> None:
    server = await serve()
    program = "used = posewire.Client(sys.argv[1])\nused.server_info()\nfork()\nfork(used)\nfork(unused)\ntrack(used)"
    *children, own = await forked(program, server.address)
    assert own == "0 9.9"
    assert children[1::2] == ["exit code 0"] * 3
    assert all("fork before connecting" in told for told in children[::2])


async def test_a_program_without_an_event_loop_is_told_of_a_reconnect_too(serve: Any, scripts: Any) -> None:
    calls = 0

    async def script(stream: Any) -> AsyncIterator[Any]:
        nonlocal calls
        calls += 1
        yield await stream.start()
        async for frame in stream.incoming():
            if calls == 1 and frame.number == 2:
                await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")
            yield scripts.tracked(frame)
        yield scripts.summary(len(stream.frames), len(stream.frames))

    server = await serve(script)
    events: list[posewire.Reconnected] = []

    def program() -> posewire.StreamSummary | None:
        with Client(server.address) as client, client.track(pictures(6), on_reconnect=events.append) as stream:
            assert [result.tracked for result in stream] == [True] * 6
            assert stream.reconnects == 1
            assert stream.address == client.address == server.address
            return stream.summary

    summary = await in_a_thread(program)
    assert summary is not None
    assert (summary.tracked, summary.reconnects) == (6, 1)
    assert len(events) == 1
