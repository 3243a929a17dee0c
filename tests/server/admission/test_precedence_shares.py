"""Who gets how much when streams want more than there is, in time that passes without waiting."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Sequence
from typing import Any, NamedTuple

import pytest

from posewire.v1 import track_pb2
from posewire_server.admission.precedence import Precedence
from posewire_server.admission.turns import Step
from posewire_server.observability.metrics import Metrics
from posewire_server.streams.frame_clock import FrameClock
from posewire_server.streams.outbox import Outbox

_LOOK_S, _POSE_S = 0.004, 0.006  # of a frame, and of a person in it


class _InstantSelector(selectors.SelectSelector):
    """Where a loop would wait, its clock jumps."""

    now_s = 0.0

    def select(self, timeout: float | None = None) -> list[Any]:
        self.now_s += timeout or 0.0
        return super().select(0)


class _InstantLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._instant = _InstantSelector()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.now_s


class Camera(NamedTuple):
    """Sends frames by its own rhythm, of which the newest counts; `from_s`: when it is switched on."""

    fps: float
    people: int = 1
    from_s: float = 0.0


class _Service:
    """One network that takes a frame at a time."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._network, self._precedence = loop, asyncio.Lock(), Precedence()
        self.tracked: dict[int, int] = {}

    async def serve(self, number: int, camera: Camera) -> None:
        await asyncio.sleep(camera.from_s + 0.37 * number / camera.fps)
        outbox, clock, newest = Outbox(_nowhere, Metrics()), FrameClock(may_drop=True), asyncio.Event()
        standing = self._precedence.join(outbox, lambda: outbox.late, clock.due_s, self._loop.time)
        self.tracked[number] = 0

        async def send() -> None:
            while True:
                clock.received(None, self._loop.time())
                outbox.accounts.received += 1
                if newest.is_set():
                    outbox.accounts.dropped += 1
                    outbox.late += 1
                newest.set()
                await asyncio.sleep(1 / camera.fps)

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            while True:
                await newest.wait()
                newest.clear()
                await standing.turn(Step.LOOK)
                await self._work(_LOOK_S)
                await standing.turn(Step.POSE)
                await self._work(_POSE_S * camera.people)
                outbox.accounts.tracked += 1
                self.tracked[number] += 1
                standing.frame_done(0.0, _LOOK_S, _POSE_S * camera.people, camera.people)

    async def _work(self, seconds: float) -> None:
        async with self._network:
            await asyncio.sleep(seconds)


async def _nowhere(_: track_pb2.TrackResponse) -> None:
    pass


def _fps_of(cameras: Sequence[Camera]) -> list[float]:
    """What each of them gets in the last twenty of forty seconds."""
    loop = _InstantLoop()

    async def run() -> list[float]:
        service = _Service(loop)
        tasks = [asyncio.create_task(service.serve(*each)) for each in enumerate(cameras)]
        await asyncio.sleep(20.0)
        before = dict(service.tracked)
        await asyncio.sleep(20.0)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return [(service.tracked[number] - before[number]) / 20.0 for number in range(len(cameras))]

    try:
        return loop.run_until_complete(run())
    finally:
        loop.close()


@pytest.mark.parametrize(
    ("cameras", "shares"),
    [
        pytest.param([Camera(25.0)] * 8, [12.5] * 8, id="equals"),
        pytest.param([Camera(25.0)] * 7 + [Camera(25.0, from_s=8.0)], [12.5] * 8, id="equals, one of them later"),
        pytest.param([Camera(10.0)] * 4 + [Camera(25.0)] * 4, [10.0] * 4 + [15.0] * 4, id="of two rates"),
        pytest.param([Camera(15.0)] * 7 + [Camera(30.0)], [12.5] * 8, id="one of twice the rate"),
    ],
)
def test_cameras_of_about_one_rate_share_what_there_is(cameras: list[Camera], shares: list[float]) -> None:
    """A hundred frames a second, at most: each of one person takes ten milliseconds."""
    found = _fps_of(cameras)
    assert found == pytest.approx(shares, rel=0.4)
    assert sum(found) > 90.0


@pytest.mark.parametrize("greedy", [Camera(300.0), Camera(14.0, people=20), Camera(300.0, people=20)])
def test_cameras_get_all_they_ask_for_beside_a_flood_and_beside_a_crowd(greedy: Camera) -> None:
    found = _fps_of([Camera(10.0)] * 4 + [greedy])
    assert found[:4] == pytest.approx([10.0] * 4, rel=0.05)
    assert found[4] > 0.0
