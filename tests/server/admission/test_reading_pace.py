from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

import pytest

from posewire.v1 import track_pb2
from posewire_server.admission.reading_pace import ReadingPace
from posewire_server.observability.metrics import Metrics
from posewire_server.streams.inbox import DropReason
from posewire_server.streams.outbox import FrameId, Outbox


def _pace(
    most_per_s: float = math.inf, *, is_video: bool = False, most_now_per_s: Callable[[], float] = lambda: math.inf
) -> ReadingPace:
    async def write(_: track_pb2.TrackResponse) -> None:
        pass

    return ReadingPace(Outbox(write, Metrics()), most_per_s, is_video=is_video, most_now_per_s=most_now_per_s)


async def test_good_frames_wait_for_nothing(pauses: list[float]) -> None:
    pace = _pace()
    for _ in range(1000):
        await pace.turn()
        pace.note(good=True)
    assert pauses == []


@pytest.mark.parametrize(("is_video", "forgiven"), [(False, 29), (True, 299)])
async def test_one_good_frame_redeems_a_bad_stream(pauses: list[float], is_video: bool, forgiven: int) -> None:
    pace = _pace(is_video=is_video)
    for _ in range(forgiven):
        pace.note(good=False)
    await pace.turn()
    assert pauses == []
    pace.note(good=False)
    await pace.turn()
    await pace.turn()
    assert pauses == [0.1, 0.1]
    pace.note(good=True)
    await pace.turn()
    assert len(pauses) == 2


@pytest.mark.parametrize(("decoded_s", "pause_s"), [(0.001, 0.1), (0.2, 1.8), (60.0, 5.0)])
async def test_bad_frames_take_at_most_a_tenth_of_a_thread(
    pauses: list[float], decoded_s: float, pause_s: float
) -> None:
    pace = _pace()
    for _ in range(30):
        pace.note(good=False, decoded_s=decoded_s)
    await pace.turn()
    assert pauses == [pytest.approx(pause_s)]


async def test_whoever_sends_more_than_the_rate_waits(pauses: list[float]) -> None:
    pace = _pace(most_per_s=0.01)
    for _ in range(3):
        await pace.turn()
    assert pauses == [pytest.approx(100, rel=0.1), pytest.approx(200, rel=0.1)]


async def test_who_does_not_read_the_answers_is_not_read_either() -> None:
    is_read = asyncio.Event()

    async def write(_: track_pb2.TrackResponse) -> None:
        await is_read.wait()

    outbox = Outbox(write, Metrics())
    pace = ReadingPace(outbox, math.inf, is_video=False, most_now_per_s=lambda: math.inf)
    await pace.turn()
    for number in range(1000):
        outbox.dropped(FrameId(number, None), DropReason.SUPERSEDED)
    turn = asyncio.create_task(pace.turn())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not turn.done()
    is_read.set()
    await turn


async def test_how_much_is_read_follows_how_things_stand(pauses: list[float]) -> None:
    most = math.inf
    pace = _pace(most_now_per_s=lambda: most)
    await pace.turn()
    await pace.turn()
    assert pauses == []
    most = 0.01
    await pace.turn()
    assert pauses == [pytest.approx(100, rel=0.1)]
    most = math.inf
    await pace.turn()
    assert len(pauses) == 1
