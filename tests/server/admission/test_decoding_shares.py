from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest

from posewire_server.admission.decoding_shares import DecodingShare, DecodingShares
from posewire_server.workers import Workers


class Threads:
    """Decoding threads that do no work before the test lets them go."""

    def __init__(self, count: int) -> None:
        self.decoders = Workers(count, "test-decoder")
        self.shares = DecodingShares(self.decoders, count)
        self.go = threading.Event()
        self.taken = asyncio.Semaphore(0)
        self.order: list[str] = []

    def queue(self, share: DecodingShare, name: str) -> asyncio.Task[None]:
        loop = asyncio.get_running_loop()

        def work() -> None:
            self.order.append(name)
            loop.call_soon_threadsafe(self.taken.release)
            assert self.go.wait(30)

        return asyncio.create_task(share.run_to_end(work))

    async def until_taken(self, times: int) -> None:
        for _ in range(times):
            await asyncio.wait_for(self.taken.acquire(), 30)


@pytest.fixture
def threads(request: pytest.FixtureRequest) -> Iterator[Threads]:
    threads = Threads(request.param)
    yield threads
    threads.go.set()
    threads.decoders.close()


@pytest.mark.parametrize("threads", [2], indirect=True)
async def test_a_caller_leaves_a_thread_to_the_others(threads: Threads) -> None:
    with threads.shares.of("many") as many, threads.shares.of("one") as one:
        tasks = [threads.queue(many, "many") for _ in range(20)]
        await threads.until_taken(1)
        tasks.append(threads.queue(one, "one"))
        await threads.until_taken(1)
        assert threads.order == ["many", "one"]
        threads.go.set()
        await asyncio.gather(*tasks)
    assert threads.order.count("many") == 20


@pytest.mark.parametrize("threads", [4], indirect=True)
async def test_a_caller_never_has_more_than_its_share(threads: Threads) -> None:
    decoding, most = 0, 0

    async def decode() -> None:
        nonlocal decoding, most
        async with threads.shares.turn("many"):
            decoding += 1
            most = max(most, decoding)
            await asyncio.sleep(0)
            decoding -= 1

    with threads.shares.of("many"), threads.shares.of("one"):
        await asyncio.gather(*(decode() for _ in range(20)))
    assert most == 3


@pytest.mark.parametrize("threads", [2], indirect=True)
async def test_a_caller_that_is_alone_has_all_threads(threads: Threads) -> None:
    with threads.shares.of("many") as many:
        with threads.shares.of("one"):
            tasks = [threads.queue(many, "many") for _ in range(2)]
            await threads.until_taken(1)
        await threads.until_taken(1)
        threads.go.set()
        await asyncio.gather(*tasks)


@pytest.mark.parametrize("threads", [1], indirect=True)
async def test_callers_take_turns_at_a_single_thread(threads: Threads) -> None:
    with threads.shares.of("many") as many, threads.shares.of("one") as one:
        tasks = [threads.queue(many, "many") for _ in range(3)]
        await threads.until_taken(1)
        tasks.append(threads.queue(one, "one"))
        await asyncio.sleep(0)
        threads.go.set()
        await asyncio.gather(*tasks)
    assert threads.order == ["many", "one", "many", "many"]


@pytest.mark.parametrize("threads", [1], indirect=True)
async def test_those_who_are_cancelled_while_they_wait_hold_up_nobody(threads: Threads) -> None:
    """Nor do they leave a turn that they never had."""
    with threads.shares.of("many") as many, threads.shares.of("one") as one:
        first, given_up, last = (threads.queue(many, name) for name in ("first", "given up", "last"))
        await threads.until_taken(1)
        given_up.cancel()
        await asyncio.wait({given_up})
        other = threads.queue(one, "one")
        await asyncio.sleep(0)
        first.cancel()
        threads.go.set()
        await asyncio.gather(other, last)
        assert threads.order == ["first", "one", "last"]
