from __future__ import annotations

import asyncio
import math
import time

import pytest
from google.protobuf import timestamp_pb2

from posewire.v1 import track_pb2
from posewire_server.admission.precedence import Precedence, Standing
from posewire_server.admission.turns import Step
from posewire_server.errors import Undecodable
from posewire_server.observability.metrics import Metrics
from posewire_server.streams.inbox import DropReason
from posewire_server.streams.outbox import FrameId, Outbox
from tests.server.clock import Clock


class Stream:
    """A stream as its standing sees it."""

    def __init__(self, precedence: Precedence, clock: Clock, *, is_held_back: bool = False) -> None:
        self.outbox, self.excess, self._clock = Outbox(_write, Metrics()), 0, clock
        self.due_s: float | None = None
        self.standing: Standing = precedence.join(
            self.outbox, lambda: self.excess, lambda _: self.due_s, clock, is_held_back=is_held_back
        )

    def receive(self) -> None:
        self.outbox.accounts.received += 1

    def answer(self, pose_s: float = 60.0, people: int = 1) -> None:
        self.outbox.accounts.tracked += 1
        self.standing.frame_done(decode_s=0.25 * pose_s, look_s=0.5 * pose_s, pose_s=pose_s, people=people)

    def live(self, *, excess_a_frame: int, pose_s: float = 60.0, fps: float = 5.0, people: int = 1) -> None:
        """Two seconds at so many frames a second, and more that find no room."""
        for _ in range(round(2 * fps)):
            self._clock.now += 1 / fps
            self.standing.reading_fps()  # as whoever reads it does
            self.excess += excess_a_frame
            for _ in range(excess_a_frame):
                self.receive()
                self.outbox.accounts.dropped += 1
            self.receive()
            self.answer(pose_s, people)


async def _write(_: track_pb2.TrackResponse) -> None:
    pass


@pytest.fixture
def precedence() -> Precedence:
    return Precedence()


async def _waits(stream: Stream, step: Step = Step.POSE) -> asyncio.Task[None] | None:
    """The turn that it waits for; None if it need not."""
    return await _unless_done(asyncio.create_task(stream.standing.turn(step)))


async def _unless_done(turn: asyncio.Task[None]) -> asyncio.Task[None] | None:
    for _ in range(20):
        await asyncio.sleep(0)
    return None if turn.done() else turn


async def test_a_flood_lets_the_frame_of_a_modest_stream_pass(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10)
    modest.live(excess_a_frame=0)
    for step in Step:
        assert await _waits(flood, step) is None  # nobody is there
        modest.receive()
        turn = await _waits(flood, step)
        assert turn is not None
        assert await _waits(modest, step) is None
        modest.answer()
        await turn


@pytest.mark.parametrize("becomes", ["failed", "dropped"])
async def test_a_frame_that_comes_to_nothing_is_waited_for_no_longer(
    precedence: Precedence, clock: Clock, becomes: str
) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10)
    modest.live(excess_a_frame=0)
    modest.receive()
    turn = await _waits(flood)
    assert turn is not None
    frame = FrameId(0, timestamp_pb2.Timestamp())
    if becomes == "failed":
        await modest.outbox.failed(frame, Undecodable("garbage"))
    else:
        modest.outbox.dropped(frame, DropReason.TOO_OLD)
    async with asyncio.timeout(10):
        await turn


async def test_a_step_begins_only_if_it_is_over_before_the_next_frame(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10, pose_s=20.0)
    modest.due_s = clock.now + 20.1
    assert await _waits(flood, Step.POSE) is None
    modest.due_s = clock.now + 19.9
    turn = await _waits(flood, Step.POSE)
    assert turn is not None
    assert await _waits(flood, Step.LOOK) is None  # which is shorter
    clock.now = modest.due_s
    modest.receive()
    modest.due_s += 30.0
    modest.answer(0.1)
    await turn


async def test_a_picture_is_decoded_only_if_it_may_then_go_on(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10, pose_s=20.0)  # 5 seconds to decode, 10 to look
    modest.due_s = clock.now + 14.9
    assert await _waits(flood, Step.DECODE) is not None
    modest.due_s = clock.now + 15.1
    assert await _waits(flood, Step.DECODE) is None


@pytest.mark.parametrize("due_in_s", [-0.01, 0.0005])  # late, or soon
async def test_a_frame_that_is_due_is_waited_for_and_one_that_will_not_come_is_not(
    precedence: Precedence, clock: Clock, due_in_s: float
) -> None:
    precedence.patience = 1e6  # it would last longer than this test
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10, pose_s=0.001)
    modest.due_s = clock.now + due_in_s
    turn = await _waits(flood)
    assert turn is not None
    modest.due_s = None
    async with asyncio.timeout(5):  # nobody tells it: it looks again by itself
        await turn


async def test_a_step_that_is_now_and_then_long_is_taken_for_long(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10, pose_s=1.0)
    flood.standing.frame_done(decode_s=0.25, look_s=8.0, pose_s=1.0, people=1)  # the detector ran
    flood.standing.frame_done(decode_s=0.25, look_s=0.5, pose_s=1.0, people=1)
    modest.due_s = clock.now + 7.0
    assert await _waits(flood, Step.LOOK) is not None
    for _ in range(20):
        flood.standing.frame_done(decode_s=0.25, look_s=0.5, pose_s=1.0, people=1)
    assert await _waits(flood, Step.LOOK) is None


async def test_the_streams_that_ask_too_much_do_not_wait_for_each_other(precedence: Precedence, clock: Clock) -> None:
    floods = [Stream(precedence, clock) for _ in range(2)]
    for flood in floods:
        flood.live(excess_a_frame=1)
        flood.receive()
    for flood in floods:
        assert await _waits(flood) is None


@pytest.mark.parametrize(("excess_a_frame", "waits"), [(4, False), (6, True)])  # of 5 and 7 frames against 2
async def test_where_all_ask_too_much_who_asks_far_more_waits(
    precedence: Precedence, clock: Clock, excess_a_frame: int, waits: bool
) -> None:
    flood, camera = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=excess_a_frame)
    camera.live(excess_a_frame=1)
    flood.receive()
    camera.receive()
    assert camera.standing.greedy
    assert await _waits(camera) is None
    assert (await _waits(flood) is not None) is waits


@pytest.mark.parametrize(
    ("got_fps", "others_fps", "waits"),
    [
        (5.0, 4.0, True),
        (5.0, 5.0, False),  # who has had as much already
        (5.0, 6.0, False),
        (5.0, 10.0, False),
        (5.0, 15.0, False),
        (0.5, 1.0, False),
        (2.0, 1.0, True),
    ],
)
async def test_who_has_had_less_does_not_wait_for_a_stream_that_gets_all_it_asks_for(
    precedence: Precedence, clock: Clock, got_fps: float, others_fps: float, waits: bool
) -> None:
    """It asks for twice what it gets: for less than three times as much as the other."""
    greedy, served = Stream(precedence, clock), Stream(precedence, clock)
    greedy.live(excess_a_frame=1, fps=got_fps)
    served.live(excess_a_frame=0, fps=others_fps)
    served.receive()
    assert not served.standing.greedy
    assert (await _waits(greedy) is not None) is waits


async def test_a_flood_waits_for_cameras_though_it_has_had_less(precedence: Precedence, clock: Clock) -> None:
    flood, camera = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=100, fps=1.0)
    camera.live(excess_a_frame=0, fps=30.0)
    camera.receive()
    assert await _waits(flood) is not None


@pytest.mark.parametrize(("people", "waits"), [(1, False), (20, True)])
async def test_a_frame_with_many_people_is_more(precedence: Precedence, clock: Clock, people: int, waits: bool) -> None:
    crowd, camera = Stream(precedence, clock), Stream(precedence, clock)
    crowd.live(excess_a_frame=1, people=people)
    camera.live(excess_a_frame=0, fps=10.0)
    camera.receive()
    assert (await _waits(crowd) is not None) is waits


async def test_a_flood_lets_a_file_pass_that_gets_all_it_asks_for(precedence: Precedence, clock: Clock) -> None:
    flood, file = Stream(precedence, clock), Stream(precedence, clock, is_held_back=True)
    flood.live(excess_a_frame=10)
    file.live(excess_a_frame=0)
    file.receive()
    assert await _waits(flood) is not None
    file.answer()
    file.live(excess_a_frame=1)
    file.receive()
    assert file.standing.greedy
    assert await _waits(flood) is None


async def test_of_files_none_waits_for_another(precedence: Precedence, clock: Clock) -> None:
    slow, quick = (Stream(precedence, clock, is_held_back=True) for _ in range(2))
    slow.live(excess_a_frame=1)
    quick.live(excess_a_frame=0, fps=10.0)
    quick.receive()
    assert await _waits(slow) is None


async def test_a_flood_of_which_little_is_read_is_still_known_as_one(precedence: Precedence, clock: Clock) -> None:
    flood, camera = Stream(precedence, clock), Stream(precedence, clock)
    camera.live(excess_a_frame=0, fps=30.0)
    camera.receive()
    flood.live(excess_a_frame=20)
    assert flood.standing.reading_fps() == 10.0
    flood.live(excess_a_frame=1)  # ten frames a second: as many as are read
    assert await _waits(flood) is not None
    assert flood.standing.reading_fps() == 10.0
    for _ in range(2):
        flood.live(excess_a_frame=1, fps=2.5)  # fewer: it sends no more
    assert await _waits(flood) is None


@pytest.mark.parametrize("is_overloaded", [False, True])
async def test_a_file_lets_every_camera_pass_that_gets_all_it_asks_for(
    precedence: Precedence, clock: Clock, is_overloaded: bool
) -> None:
    file, camera = Stream(precedence, clock, is_held_back=True), Stream(precedence, clock)
    file.live(excess_a_frame=1)
    camera.live(excess_a_frame=9 if is_overloaded else 0, fps=30.0)
    file.receive()
    camera.receive()
    assert await _waits(camera) is None  # though it asks for far more than is seen of the file
    assert (await _waits(file) is None) is is_overloaded


@pytest.mark.parametrize(("on_gpu", "most"), [(False, 40.0), (True, 1.0)])
async def test_nobody_waits_longer_than_some_times_what_its_own_frame_takes(
    clock: Clock, on_gpu: bool, most: float
) -> None:
    precedence = Precedence(on_gpu=on_gpu)
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10, pose_s=40.0)  # 70 seconds in all
    modest.receive()
    turn = await _waits(flood)
    assert turn is not None
    clock.now += most * 70.0 - 1.0
    modest.answer()
    await turn
    modest.receive()
    turn = await _waits(flood)
    assert turn is not None  # there is a second left
    clock.now += 1.0
    modest.answer()
    await turn
    modest.receive()
    assert await _waits(flood) is None


async def test_a_turn_comes_even_if_the_others_are_never_done(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10, pose_s=0.001)
    modest.receive()
    async with asyncio.timeout(5):
        await flood.standing.turn(Step.POSE)


async def test_nobody_waits_for_a_stream_whose_client_does_not_read(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10)
    modest.receive()
    modest.outbox.sending_since_s = time.monotonic() - 1.5
    assert await _waits(flood) is None


async def test_a_flood_is_read_at_twice_what_it_gets(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    for _ in range(60):
        clock.now += 1 / 30
        flood.excess += 3
        flood.receive()
        flood.answer()
    assert flood.standing.reading_fps() == math.inf  # while it takes nothing from anybody
    modest.receive()
    assert flood.standing.reading_fps() == pytest.approx(60.0, rel=0.05)
    modest.answer()
    assert flood.standing.reading_fps() == math.inf
    modest.due_s = clock.now + 0.1
    assert flood.standing.reading_fps() == pytest.approx(60.0, rel=0.05)
    assert modest.standing.reading_fps() == math.inf


async def test_a_flood_that_gets_little_is_still_read(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10)
    clock.now += 10.0
    flood.excess += 100
    flood.answer()
    modest.receive()
    assert flood.standing.reading_fps() == 10.0


@pytest.mark.parametrize(("excess_in_ten", "greedy"), [(0, False), (5, False), (6, True), (100, True)])
def test_a_few_frames_too_many_are_forgiven(
    precedence: Precedence, clock: Clock, excess_in_ten: int, greedy: bool
) -> None:
    stream = Stream(precedence, clock)
    for _ in range(9):
        stream.receive()
        stream.answer()
    stream.excess += excess_in_ten
    clock.now += 1.0
    stream.receive()
    stream.answer()
    assert stream.standing.greedy is greedy


async def test_whoever_asks_less_again_is_modest_again(precedence: Precedence, clock: Clock) -> None:
    stream, camera, flood = (Stream(precedence, clock) for _ in range(3))
    camera.receive()
    stream.live(excess_a_frame=20)
    assert stream.standing.greedy
    assert stream.standing.reading_fps() == 10.0
    stream.live(excess_a_frame=0, fps=9.0)
    assert not stream.standing.greedy
    camera.answer()
    stream.receive()
    flood.live(excess_a_frame=1, fps=9.5)
    assert await _waits(flood) is not None  # for a stream that asks for no more than nine frames now


async def test_nobody_waits_for_a_stream_that_is_closed(precedence: Precedence, clock: Clock) -> None:
    flood, modest = Stream(precedence, clock), Stream(precedence, clock)
    flood.live(excess_a_frame=10)
    modest.receive()
    turn = await _waits(flood)
    assert turn is not None
    precedence.leave(modest.standing)
    await turn
