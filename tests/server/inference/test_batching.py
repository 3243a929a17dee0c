from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial

import pytest

from posewire_server.config import StageBatchingConfig
from posewire_server.errors import InferenceFailed, ServerDraining
from posewire_server.inference.batching import MicroBatcher
from posewire_server.inference.lane import Lane


class Stage:
    """Doubles numbers; holds the lane until it is let go, and remembers its batches."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.running = threading.Event()
        self.go = threading.Event()
        self.go.set()

    def __call__(self, requests: Sequence[int]) -> list[int]:
        self.batches.append(list(requests))
        self.running.set()
        assert self.go.wait(30)
        if any(request < 0 for request in requests):
            raise RuntimeError("negative")
        return [2 * request for request in requests]


@asynccontextmanager
async def _batcher(
    stage: Stage, *, max_batch: int = 8, max_wait_ms: float = 1000.0, weigh: Callable[[int], int] = lambda request: 1
) -> AsyncIterator[MicroBatcher[int, int]]:
    lane = Lane("test")
    batcher = MicroBatcher[int, int](
        "test", stage, lane, StageBatchingConfig(max_batch=max_batch, max_wait_ms=max_wait_ms), weigh
    )
    try:
        yield batcher
    finally:
        stage.go.set()
        batcher.close()
        lane.close()


@asynccontextmanager
async def _lane_held(stage: Stage, batcher: MicroBatcher[int, int]) -> AsyncIterator[None]:
    """While the lane runs a first request (number 0), more can be submitted; they run at the end of the block."""
    stage.go.clear()
    first = batcher.submit(0, "first")
    await asyncio.to_thread(stage.running.wait, 30)
    yield
    stage.go.set()
    assert (await first).result == 0


async def _submit(batcher: MicroBatcher[int, int], request: int, stream: str) -> asyncio.Task[int]:
    async def result() -> int:
        return (await batcher.submit(request, stream)).result

    task = asyncio.create_task(result())
    await asyncio.sleep(0)
    return task


async def test_a_lone_request_does_not_wait() -> None:
    async with _batcher(Stage()) as batcher:
        request = batcher.submit(21, "a")
        assert batcher.waiting == 0  # it has left
        assert (await request).result == 42


async def test_a_stream_does_not_wait_for_its_own_next_frame() -> None:
    async with _batcher(Stage()) as batcher:
        with batcher.expected("a"):
            request = batcher.submit(1, "a")
            assert batcher.waiting == 0
            assert (await request).result == 2


async def test_but_for_those_of_others_although_its_own_is_expected_too() -> None:
    async with _batcher(Stage()) as batcher:
        with batcher.expected("a"), batcher.expected("b"):
            batcher.submit(1, "a")
            assert batcher.waiting == 1


async def test_requests_join_while_the_lane_is_busy() -> None:
    stage = Stage()
    async with _batcher(stage) as batcher:
        async with _lane_held(stage, batcher):
            tasks = [await _submit(batcher, number, f"stream {number}") for number in (1, 2, 3)]
        assert [await task for task in tasks] == [2, 4, 6]
        assert stage.batches == [[0], [1, 2, 3]]


async def test_a_batch_waits_for_a_request_that_is_on_its_way() -> None:
    stage = Stage()
    async with _batcher(stage, max_wait_ms=1000.0) as batcher:
        with batcher.expected("b") as withdraw:
            first = await _submit(batcher, 1, "a")
            await asyncio.sleep(0)
            assert not first.done()
            withdraw()
            assert (await batcher.submit(2, "b")).result == 4
            assert await first == 2
        assert stage.batches == [[1, 2]]
        request = batcher.submit(3, "c")  # nobody is on the way any more
        assert batcher.waiting == 0
        await request


async def test_but_not_longer_than_its_budget() -> None:
    stage = Stage()
    async with _batcher(stage, max_wait_ms=1.0) as batcher:
        with batcher.expected("b"):
            assert (await batcher.submit(1, "a")).result == 2


async def test_nobody_waits_for_a_request_that_was_called_off() -> None:
    async with _batcher(Stage()) as batcher:
        with batcher.expected("b"):
            batcher.submit(1, "a")
            assert batcher.waiting == 1
        await asyncio.sleep(0)
        assert batcher.waiting == 0


async def test_the_oldest_request_counts_for_the_budget() -> None:
    async with _batcher(Stage()) as batcher:
        with batcher.expected("c"):
            batcher.submit(1, "a")
            batcher.submit(2, "b")
            batcher._streams["a"][0].since -= 2.0
            batcher.start_batch()
            assert batcher.waiting == 0


async def test_a_full_batch_does_not_wait() -> None:
    async with _batcher(Stage(), max_batch=2) as batcher:
        with batcher.expected("c"):
            requests = [batcher.submit(1, "a")]
            assert batcher.waiting == 1
            requests.append(batcher.submit(2, "b"))
            assert batcher.waiting == 0
            assert [(await request).result for request in requests] == [2, 4]


async def test_a_batch_is_full_by_weight() -> None:
    async with _batcher(Stage(), max_batch=4, weigh=lambda request: request) as batcher:
        with batcher.expected("b"):
            batcher.submit(5, "a")
            assert batcher.waiting == 0


async def test_streams_take_turns() -> None:
    stage = Stage()
    async with _batcher(stage, max_batch=2) as batcher:
        async with _lane_held(stage, batcher):
            tasks = [await _submit(batcher, number, "greedy") for number in (1, 2, 3, 4)]
            tasks.append(await _submit(batcher, 9, "modest"))
        await asyncio.gather(*tasks)
        assert stage.batches[1] == [1, 9]


async def test_a_heavy_request_is_not_overtaken_for_ever() -> None:
    stage = Stage()
    async with _batcher(stage, max_batch=4, weigh=lambda request: request) as batcher:
        async with _lane_held(stage, batcher):
            tasks = [await _submit(batcher, weight, f"stream {weight}") for weight in (1, 30, 2)]
        await asyncio.gather(*tasks)
        assert stage.batches == [[0], [1], [30], [2]]
        assert batcher.waiting == 0


async def test_a_cancelled_request_is_left_out() -> None:
    stage = Stage()
    async with _batcher(stage) as batcher:
        async with _lane_held(stage, batcher):
            gone = await _submit(batcher, 1, "a")
            stays = await _submit(batcher, 2, "b")
            gone.cancel()
            await asyncio.gather(gone, return_exceptions=True)
        assert await stays == 4
        assert stage.batches == [[0], [2]]
        assert batcher.waiting == 0


async def test_nothing_is_kept_of_cancelled_requests() -> None:
    stage = Stage()
    async with _batcher(stage) as batcher:
        async with _lane_held(stage, batcher):
            gone = [await _submit(batcher, request, stream) for request, stream in enumerate("aab")]
            for task in gone:
                task.cancel()
            await asyncio.gather(*gone, return_exceptions=True)
        while stage.batches != [[0]] or batcher.waiting:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert not batcher._streams


async def test_a_cancelled_request_in_a_running_batch_harms_nobody() -> None:
    stage = Stage()
    async with _batcher(stage) as batcher:
        stage.go.clear()
        gone = await _submit(batcher, 1, "a")
        await asyncio.to_thread(stage.running.wait, 30)
        gone.cancel()
        await asyncio.gather(gone, return_exceptions=True)
        stage.go.set()
        assert (await batcher.submit(2, "b")).result == 4


async def test_only_the_guilty_request_of_a_batch_fails() -> None:
    stage = Stage()
    async with _batcher(stage) as batcher:
        async with _lane_held(stage, batcher):
            good, bad, better = [await _submit(batcher, number, f"stream {number}") for number in (1, -1, 2)]
        assert await good == 2
        assert await better == 4
        with pytest.raises(InferenceFailed, match="test stage failed"):
            await bad
        assert stage.batches == [[0], [1, -1, 2], [1], [-1], [2]]


async def test_a_request_that_is_cancelled_before_its_second_run_is_left_out() -> None:
    stage = Stage()
    async with _batcher(stage) as batcher, asyncio.timeout(30):
        async with _lane_held(stage, batcher):
            bad, gone, stays = [await _submit(batcher, number, f"stream {number}") for number in (-1, 1, 2)]
        while len(batcher._suspects) != 2:  # noqa: ASYNC110  the first of them runs
            await asyncio.sleep(0)
        gone.cancel()
        assert await stays == 4
        await asyncio.gather(bad, gone, return_exceptions=True)
        assert stage.batches == [[0], [-1, 1, 2], [-1], [2]]


async def test_a_stage_that_loses_results_fails_instead_of_mixing_them_up() -> None:
    lane = Lane("test")
    batcher = MicroBatcher[int, int]("test", lambda requests: [], lane, StageBatchingConfig(max_batch=2))
    with pytest.raises(InferenceFailed):
        await batcher.submit(1, "a")
    batcher.close()
    lane.close()


async def test_closing_fails_what_waits_and_refuses_the_rest() -> None:
    stage = Stage()
    async with _batcher(stage) as batcher:
        stage.go.clear()
        running = await _submit(batcher, 1, "a")
        await asyncio.to_thread(stage.running.wait, 30)
        waiting = await _submit(batcher, 2, "b")
        batcher.close()
        for task in (running, waiting):
            with pytest.raises(ServerDraining):
                await task
        with pytest.raises(ServerDraining):
            await batcher.submit(3, "c")


async def test_closing_fails_what_waits_for_its_second_run_too() -> None:
    stage = Stage()
    async with _batcher(stage) as batcher, asyncio.timeout(30):
        async with _lane_held(stage, batcher):
            tasks = [await _submit(batcher, number, f"stream {number}") for number in (-1, -2, -3)]
        while len(batcher._suspects) != 2:  # noqa: ASYNC110  the first of them runs
            await asyncio.sleep(0)
        batcher.close()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(outcome, ServerDraining) for outcome in outcomes[1:])


async def test_a_stage_that_waits_for_a_request_leaves_the_lane_to_the_others() -> None:
    lane, stage, config = Lane("test"), Stage(), StageBatchingConfig(max_batch=8, max_wait_ms=1000.0)
    patient, other = (MicroBatcher[int, int](name, stage, lane, config) for name in ("patient", "other"))
    with patient.expected("b"):
        async with _lane_held(stage, other):
            waiting, goes = await _submit(patient, 1, "a"), await _submit(other, 2, "a")
            patient._streams["a"][0].since += 3600.0  # however slow this machine is
        async with asyncio.timeout(10):
            assert await goes == 4
        assert stage.batches == [[0], [2]]
    assert await waiting == 2
    for batcher in (patient, other):
        batcher.close()
    lane.close()


async def test_stages_of_one_lane_take_turns_on_its_thread() -> None:
    lane, threads, ran = Lane("test"), set[int](), list[str]()

    def run(name: str, requests: Sequence[int]) -> Sequence[int]:
        threads.add(threading.get_ident())
        ran.append(name)
        return requests

    config = StageBatchingConfig(max_batch=1)
    batchers = [MicroBatcher[int, int](name, partial(run, name), lane, config) for name in ("one", "other")]
    await asyncio.gather(*(batcher.submit(number, number) for number in range(20) for batcher in batchers))
    assert len(threads) == 1
    assert threads != {threading.get_ident()}
    assert [ran[:20].count(name) for name in ("one", "other")] == pytest.approx([10, 10], abs=1)
    for batcher in batchers:
        batcher.close()
    lane.close()
