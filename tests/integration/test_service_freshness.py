"""Under load: the tracker knows how much time has passed, and the detector runs less often."""

from __future__ import annotations

import asyncio
import math
import threading
from collections.abc import Sequence
from dataclasses import replace

import pytest

from posewire.v1 import settings_pb2, track_pb2
from posewire_models.frames import Frame
from posewire_server.server import running_server
from tests.integration.service_calls import ALL, LATEST, TrackClient, connected, server_config
from tests.server.stand_ins import Floats, GridPose, jpeg, networks, picture

Settings = settings_pb2.TrackerSettings


class Turnstile(GridPose):
    """A pose network that processes one frame each time the test releases it."""

    def __init__(self) -> None:
        self.turns = threading.Semaphore(1)  # one to warm up
        self.reached = threading.Semaphore(0)

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        self.reached.release()
        if not self.turns.acquire(timeout=30):
            raise TimeoutError("the test let nobody through")
        return super().__call__(frames, boxes)


async def _until(semaphore: threading.Semaphore) -> None:
    assert await asyncio.to_thread(semaphore.acquire, timeout=30)


async def _send(
    client: TrackClient, number: int, time_ms: int, people: Sequence[int], elapsed: float | None = None
) -> None:
    """Send a frame with the given people."""
    pixels = picture(people=0)
    for person in people:
        pixels[60:180, 10 + 60 * person : 50 + 60 * person] = 255
    frame = track_pb2.Frame(number=number, data=jpeg(pixels), elapsed=elapsed)
    frame.capture_time.FromMilliseconds(time_ms)
    await client.call.write(track_pb2.TrackRequest(frame=frame))


@pytest.mark.parametrize(("lost_ms", "known"), [(160, True), (400, False)])
async def test_a_lost_person_is_known_for_the_queue_length_in_time(lost_ms: int, known: bool) -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL, tracker=Settings(queue_length=5, propagation=False))
        for number in range(6):
            await _send(client, number, 40 * number, [0, 2])
        await _send(client, 6, 240, [0])
        await _send(client, 7, 240 + lost_ms - 40, [0, 2])
        answers = await client.finish()
    assert answers.ids(5) == [1, 2]
    assert answers.ids(7) == ([1, 2] if known else [1, 3])
    assert [answers.tracked[number].elapsed for number in (0, 5, 6, 7)] == [1, 1, 1, lost_ms / 40 - 1]


async def test_the_client_may_say_how_much_time_has_passed() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL, tracker=Settings(queue_length=5, propagation=False))
        for number, (people, elapsed) in enumerate([([0, 2], 1.0), ([0], 1.0), ([0, 2], 9.0)]):
            await _send(client, number, 40 * number, people, elapsed)
        answers = await client.finish()
        assert answers.ids(2) == [1, 3]
        assert answers.tracked[2].elapsed == 9.0


async def test_a_time_since_the_last_frame_that_cannot_be_fails_that_frame_alone() -> None:
    nonsense = (0.0, -1.0, math.nan, math.inf, 1e7)
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        for number, elapsed in enumerate([1.0, *nonsense, 1.0]):
            await _send(client, number, 40 * number, [0], elapsed)
        answers = await client.finish()
    assert answers.tracked.keys() == {0, 6}
    assert answers.ids(6) == [1]
    assert {frame.reason for frame in answers.failed.values()} == {track_pb2.FAILURE_REASON_BAD_ELAPSED}
    assert answers.failed[3].message == "elapsed is nan; it must lie in 0..1e+06, above 0, or be left out"


async def test_frames_that_are_dropped_count_as_time() -> None:
    pose = Turnstile()
    async with (
        running_server(server_config(), replace(networks(), pose=pose)) as address,
        connected(address) as stub,
    ):
        await _until(pose.reached)  # to warm up
        client = TrackClient(stub)
        await client.open(drop_policy=LATEST, tracker=Settings(queue_length=5, propagation=False))

        async def tracked() -> None:
            pose.turns.release()
            await client.read_until("tracked")

        for number, people in enumerate(([0, 2], [0], [0])):
            await _send(client, number, 40 * number, people)
            await _until(pose.reached)
            if number < 2:
                await tracked()
        for number in range(3, 11):  # while frame 2 is in the network
            await _send(client, number, 40 * number, [0])
        # A repeated number is rejected once it and all frames before it have arrived; its time does not count.
        await _send(client, 0, 400, [0])
        await client.read_until("failed")
        await tracked()
        while 10 not in client.answers.tracked:
            await _until(pose.reached)
            await tracked()
        await _send(client, 11, 440, [0, 2])
        pose.turns.release()
        answers = await client.finish()
    assert len(answers.tracked) <= 6  # of which the queue would still hold the first
    assert answers.ids(0) == [1, 2]
    assert answers.ids(11) == [1, 3]


async def _detect_every(max_detect_every: int, *, propagation: bool = True) -> list[int]:
    """The values of `detect_every` while most frames are dropped."""
    pose = Turnstile()
    async with (
        running_server(server_config(), replace(networks(), pose=pose)) as address,
        connected(address) as stub,
    ):
        await _until(pose.reached)
        client = TrackClient(stub)
        tracker = Settings(propagation=propagation)
        await client.open(drop_policy=LATEST, max_detect_every=max_detect_every, tracker=tracker)
        number = 0
        for _ in range(12):
            for _ in range(4):
                await client.send(number, jpeg(picture()))
                number += 1
            await _until(pose.reached)
            pose.turns.release()
            await client.read_until("tracked")
        pose.turns.release(8)
        answers = await client.finish()
    return [frame.detect_every for _, frame in sorted(answers.tracked.items())]


async def test_under_load_the_detector_gives_way_as_far_as_the_client_allows() -> None:
    values = await _detect_every(3)
    assert values[0] == 1
    assert values[-1] == 3
    assert values == sorted(values)


@pytest.mark.parametrize(("max_detect_every", "propagation"), [(0, True), (3, False)])
async def test_without_leave_or_propagation_it_does_not(max_detect_every: int, propagation: bool) -> None:
    assert set(await _detect_every(max_detect_every, propagation=propagation)) == {1}
