from __future__ import annotations

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, nullcontext

import numpy as np
import pytest

from posewire.joints import COCO17
from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire_server.admission import reading_pace
from posewire_server.admission.rates import RateLimit
from posewire_server.admission.turns import Step, Turn, at_once
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import Codec
from posewire_server.decoding.decoding import Decoding
from posewire_server.observability.metrics import Metrics
from posewire_server.streams import waiting_frames
from posewire_server.streams.frame_clock import FrameClock
from posewire_server.streams.inbox import DropReason
from posewire_server.streams.intake import Intake
from posewire_server.streams.outbox import FrameId, Outbox
from posewire_server.streams.waiting_frames import EncodedFrame, encoded_inbox
from posewire_server.tracking import TrackerConfig
from posewire_server.wire.requests import settings_from
from posewire_server.workers import Workers
from tests.server.stand_ins import jpeg, picture
from tests.server.videos import encode

_LIMITS = LimitsConfig(max_inbox=4)


class _Recorder(Outbox):
    """Remembers what became of the frames that never reached the networks."""

    def __init__(self) -> None:
        async def write(response: track_pb2.TrackResponse) -> None:
            if response.HasField("failed"):
                self.failures.append(response.failed.number)

        super().__init__(write, Metrics())
        self.failures: list[int] = []
        self.drops: list[int] = []
        self.reasons: list[DropReason] = []

    def dropped(self, frame: FrameId, reason: DropReason) -> None:
        super().dropped(frame, reason)
        self.drops.append(frame.number)
        self.reasons.append(reason)


class _Decoders(Workers):
    """One decoding thread that waits until the test lets it go."""

    def __init__(self) -> None:
        super().__init__(1, "test-decoder")
        self.go = threading.Event()
        self.jobs = 0

    def run(self, work):  # type: ignore[no-untyped-def]
        self.jobs += 1
        return super().run(lambda: (self.go.wait(30), work())[1])


class _Bench:
    """An intake whose requests the test hands in one by one."""

    decoding: asyncio.Task[None]

    def __init__(
        self,
        codec: pose_pb2.Codec.ValueType,
        policy: settings_pb2.DropPolicy.ValueType,
        limits: LimitsConfig = _LIMITS,
        allowance: RateLimit | None = None,
        turn: Turn = at_once,
        reading_fps: float = math.inf,
        max_age_ms: int = 0,
    ) -> None:
        config = settings_pb2.StreamConfig(codec=codec, drop_policy=policy, max_age_ms=max_age_ms)
        self.outbox, self.decoders = _Recorder(), _Decoders()
        self._requests = asyncio.Queue[track_pb2.TrackRequest | None]()
        clock = FrameClock(may_drop=True)
        settings = settings_from(config, TrackerConfig(), limits, COCO17)
        self.intake = Intake(
            *(settings, limits, self._read, self.decoders, self.outbox, nullcontext, clock, allowance, Decoding()),
            turn=turn,
            reading_fps=lambda: reading_fps,
        )

    async def _read(self) -> track_pb2.TrackRequest | None:
        return await self._requests.get()

    async def send(self, frames: Sequence[tuple[int, bytes]]) -> None:
        """Hand frames in, and let the tasks run until they have got as far as they can without the decoder."""
        for number, data in frames:
            self._requests.put_nowait(track_pb2.TrackRequest(frame=track_pb2.Frame(number=number, data=data)))
            for _ in range(20):
                await asyncio.sleep(0)

    def half_close(self) -> None:
        self._requests.put_nowait(None)


@asynccontextmanager
async def _running(bench: _Bench) -> AsyncIterator[None]:
    tasks = [asyncio.create_task(bench.intake.read()), asyncio.create_task(bench.intake.decode())]
    bench.decoding = tasks[1]
    try:
        yield
    finally:
        bench.decoders.go.set()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        bench.decoders.close()


async def test_under_latest_a_picture_is_decoded_when_its_turn_is_near_and_not_before() -> None:
    bench = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_LATEST)
    data = jpeg(picture())
    async with _running(bench):
        bench.decoders.go.set()
        await bench.send([(0, data)])
        first = await bench.intake.ready.get()
        assert first is not None
        began_s = time.monotonic()
        await bench.send([(number, data) for number in (1, 2, 3)])
        assert bench.decoders.jobs == 1  # while the first is in the networks
        assert bench.outbox.drops == [1, 2]
        await asyncio.sleep(0.02)
        bench.intake.next_may_be_decoded()
        second = await bench.intake.ready.get()
        assert second is not None
        assert second.frame_id.number == 3
        assert bench.decoders.jobs == 2
        assert 20 <= second.queue_ms < second.queue_ms + second.decode_ms <= (time.monotonic() - began_s) * 1e3


async def test_under_latest_a_picture_is_chosen_after_its_turn_has_come() -> None:
    may_go = asyncio.Event()

    async def turn(step: Step) -> None:
        await may_go.wait()

    bench = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_LATEST, turn=turn)
    async with _running(bench), asyncio.timeout(30):
        bench.decoders.go.set()
        await bench.send([(number, jpeg(picture())) for number in range(4)])
        may_go.set()
        ready = await bench.intake.ready.get()
        assert ready is not None
        assert (ready.frame_id.number, bench.outbox.drops) == (3, [0, 1, 2])


async def test_after_a_decoded_picture_that_grew_too_old_the_stream_goes_on() -> None:
    bench, late_s = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_LATEST), [2000.0, 0.0]
    bench.intake.ready._max_age_s = 1000.0
    bench.intake.ready._clock = lambda: time.monotonic() + late_s.pop(0)
    async with _running(bench), asyncio.timeout(30):
        bench.decoders.go.set()
        await bench.send([(0, jpeg(picture()))])
        while not len(bench.intake.ready):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await bench.send([(1, jpeg(picture()))])
        ready = await bench.intake.ready.get()
        assert ready is not None
        assert ready.frame_id.number == 1
        assert (bench.outbox.drops, bench.outbox.reasons) == ([0], [DropReason.TOO_OLD])


async def test_of_a_live_video_the_newest_frame_waits_until_it_is_taken_or_the_stream_drains() -> None:
    bench = _Bench(pose_pb2.CODEC_H264, settings_pb2.DROP_POLICY_LATEST)
    async with _running(bench), asyncio.timeout(30):
        bench.decoders.go.set()
        await bench.send(list(enumerate(encode(Codec.H264, [picture(step) for step in range(3)]))))
        while bench.outbox.drops != [0, 1]:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        bench.intake.drain()
        assert await bench.intake.ready.get() is None
        assert bench.outbox.drops == [0, 1, 2]


async def test_a_unit_of_a_video_that_grew_too_old_is_decoded_and_then_dropped() -> None:
    """Those after it build on it."""
    bench = _Bench(pose_pb2.CODEC_H264, settings_pb2.DROP_POLICY_ALL, max_age_ms=1)
    async with _running(bench), asyncio.timeout(30):
        await bench.send(list(enumerate(encode(Codec.H264, [picture(step) for step in range(3)]))))
        await asyncio.sleep(0.01)
        bench.decoders.go.set()
        bench.half_close()
        assert await bench.intake.ready.get() is None
        assert bench.decoders.jobs == 3 + 1  # the last one empties the decoder
        assert (bench.outbox.drops, bench.outbox.reasons) == ([0, 1, 2], [DropReason.TOO_OLD] * 3)


async def test_a_file_sent_ahead_is_known_by_the_frames_that_wait() -> None:
    """Eight at a time, as the SDK sends them: so it gives way to cameras, although the inbox is never full."""
    bench = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_ALL, LimitsConfig(max_inbox=8))
    data, sent = jpeg(picture()), 8
    async with _running(bench):
        bench.decoders.go.set()
        await bench.send([(number, data) for number in range(sent)])
        for _ in range(20):
            assert await bench.intake.ready.get() is not None
            bench.intake.next_may_be_decoded()
            await bench.send([(sent, data)])
            sent += 1
        assert bench.intake.held_back >= 20


async def test_under_all_one_picture_is_decoded_ahead() -> None:
    bench = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_ALL)
    data = jpeg(picture())
    async with _running(bench):
        bench.decoders.go.set()
        await bench.send([(number, data) for number in range(4)])
        for number in range(2):
            ready = await bench.intake.ready.get()
            assert ready is not None
            assert ready.frame_id.number == number
        await bench.send([])
        assert bench.decoders.jobs == 2  # neither of the two is nearly done
        bench.intake.next_may_be_decoded()
        assert await bench.intake.ready.get() is not None
        assert bench.outbox.drops == []


async def test_under_all_a_unit_of_a_video_is_decoded_when_there_is_room_for_its_frame() -> None:
    """Batches wait for what is being decoded, and must not wait for a frame that nobody takes."""
    bench = _Bench(pose_pb2.CODEC_H264, settings_pb2.DROP_POLICY_ALL)
    async with _running(bench), asyncio.timeout(30):
        bench.decoders.go.set()
        await bench.send(list(enumerate(encode(Codec.H264, [picture(step) for step in range(3)]))))
        while not len(bench.intake.ready):  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await bench.send([])
        assert bench.decoders.jobs == 1
        for number in range(3):
            ready = await bench.intake.ready.get()
            assert ready is not None
            assert ready.frame_id.number == number


async def test_frames_beyond_the_allowance_are_dropped_under_latest() -> None:
    allowance = RateLimit(2.0, clock=lambda: 0.0)
    bench = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_LATEST, allowance=allowance)
    async with _running(bench):
        await bench.send([(number, jpeg(picture())) for number in range(4)])
        assert bench.outbox.drops == [2, 3]
        assert bench.outbox.reasons == [DropReason.OVER_RATE] * 2


@pytest.mark.parametrize(
    ("codec", "policy"),
    [
        (pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_ALL),  # every frame counts
        (pose_pb2.CODEC_H264, settings_pb2.DROP_POLICY_LATEST),  # a gap would cost the units after it too
    ],
)
async def test_others_who_send_more_than_allowed_are_slowed_down(
    codec: pose_pb2.Codec.ValueType, policy: settings_pb2.DropPolicy.ValueType
) -> None:
    bench = _Bench(codec, policy, allowance=RateLimit(4.0, clock=lambda: 0.0))
    async with _running(bench):
        await bench.send([(number, jpeg(picture())) for number in range(4)])
        assert bench.outbox.accounts.received == 3  # the fourth waits, and is not here yet
        assert bench.outbox.drops == []


@pytest.mark.parametrize(("burst", "received"), [(1.0, 1), (10.0, 5)])
async def test_a_stream_that_drains_answers_for_frames_beyond_the_allowance_at_once(
    burst: float, received: int
) -> None:
    allowance = RateLimit(0.01, burst=burst)  # the next frame would wait for a minute and a half
    bench = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_ALL, allowance=allowance)
    async with _running(bench):
        await bench.send([(number, b"frame") for number in range(5)])
        assert bench.outbox.accounts.received == received
        bench.intake.drain()
        await bench.send([(5, b"frame")])
        assert bench.outbox.accounts.received == 6
        assert bench.outbox.drops == [1, 2, 3, 4, 5]


async def test_a_stream_that_drains_waits_for_no_turn_to_decode() -> None:
    """While cameras go first, that may take 40 times as long as a frame: the grace would be over."""

    async def never(step: Step) -> None:
        await asyncio.Event().wait()

    bench = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_ALL, turn=never)
    async with _running(bench), asyncio.timeout(30):
        await bench.send([(number, b"frame") for number in range(3)])
        bench.intake.drain()
        await bench.send([(3, b"frame")])
        assert bench.outbox.drops == [0, 1, 2, 3]
        bench.decoders.go.set()
        await bench.decoding


async def test_a_frame_that_waits_for_its_turn_is_not_in_work() -> None:
    bench = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_ALL, allowance=RateLimit(1.0, clock=lambda: 0.0))
    async with _running(bench):
        bench.decoders.go.set()
        await bench.send([(number, jpeg(picture())) for number in range(2)])
        assert await bench.intake.ready.get() is not None
        bench.outbox.accounts.tracked += 1
        assert bench.outbox.accounts.in_work == 0


async def test_what_only_the_decoder_holds_is_not_in_work() -> None:
    bench = _Bench(pose_pb2.CODEC_H264, settings_pb2.DROP_POLICY_ALL)
    accounts, ready = bench.outbox.accounts, []

    async def collect() -> None:
        while (frame := await bench.intake.ready.get()) is not None:
            ready.append(frame.frame_id.number)
            bench.intake.next_may_be_decoded()

    async with _running(bench), asyncio.timeout(30):
        bench.decoders.go.set()
        collecting = asyncio.create_task(collect())
        await bench.send(list(enumerate(encode(Codec.H264, [picture(step) for step in range(8)], b_frames=2))))
        while accounts.received < 8 or accounts.in_work > len(ready):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert 0 < len(ready) < 8
        bench.half_close()
        await collecting
        assert len(ready) == accounts.in_work == 8


async def test_a_flood_is_read_slowly() -> None:
    limits = LimitsConfig(max_fps=5)
    bench = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_LATEST, limits)
    async with _running(bench):
        await bench.send([(number, jpeg(picture())) for number in range(9)])
        assert bench.outbox.accounts.received == 5


@pytest.mark.parametrize(
    ("codec", "policy", "received"),
    [
        (pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_LATEST, 1),
        (pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_ALL, 4),  # its own frames hold it back
        (pose_pb2.CODEC_H264, settings_pb2.DROP_POLICY_LATEST, 4),  # all that come later would be late
    ],
)
async def test_pictures_that_would_be_dropped_are_not_even_read(
    codec: pose_pb2.Codec.ValueType, policy: settings_pb2.DropPolicy.ValueType, received: int
) -> None:
    bench = _Bench(codec, policy, reading_fps=0.01)
    async with _running(bench):
        await bench.send([(number, jpeg(picture())) for number in range(4)])
        assert bench.outbox.accounts.received == received


async def test_under_all_the_frames_that_wait_set_the_pace() -> None:
    bench = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_ALL, LimitsConfig(max_fps=1, max_inbox=4))
    async with _running(bench):
        await bench.send([(number, jpeg(picture())) for number in range(9)])
        assert bench.outbox.accounts.received == 6  # one is being decoded, four wait, and one wants to


@pytest.mark.parametrize(
    ("policy", "frames", "waits"),
    [
        (settings_pb2.DROP_POLICY_LATEST, 1, False),  # the camera waits for the server
        (settings_pb2.DROP_POLICY_LATEST, 2, True),
        (settings_pb2.DROP_POLICY_ALL, 2, False),  # a file is read ahead, which says nothing
    ],
)
async def test_a_live_frame_that_waits_for_the_one_before_is_noticed(
    policy: settings_pb2.DropPolicy.ValueType, frames: int, waits: bool
) -> None:
    bench = _Bench(pose_pb2.CODEC_JPEG, policy)
    bench.decoders.go.set()
    async with _running(bench):
        await bench.send([(0, jpeg(picture()))])
        assert await bench.intake.ready.get() is not None
        await bench.send([(number, jpeg(picture())) for number in range(1, frames)])
        assert bench.intake.next_waits is waits


@pytest.mark.parametrize("policy", [settings_pb2.DROP_POLICY_LATEST, settings_pb2.DROP_POLICY_ALL])
async def test_who_sends_nothing_but_garbage_is_read_slowly(
    policy: settings_pb2.DropPolicy.ValueType,
) -> None:
    bench = _Bench(pose_pb2.CODEC_JPEG, policy, LimitsConfig(max_fps=1e6))
    async with _running(bench):
        # The first waits for the decoder; a number that does not increase fails without one.
        await bench.send([(0, b"garbage")] * 31)
        await bench.send([(number, jpeg(picture())) for number in (1, 2)])
        assert bench.outbox.accounts.received == 31
        bench.decoders.go.set()
        ready = await bench.intake.ready.get()  # after a pause
        assert ready is not None
        assert ready.frame_id.number in (1, 2)


@pytest.mark.parametrize(("pictures", "goes_on"), [((), False), ((15,), True)])
async def test_who_sends_nothing_that_can_be_decoded_is_read_slowly(
    pictures: Sequence[int], *, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading_pace, "_PAUSE_AFTER_BAD_S", 3600)
    bench = _Bench(pose_pb2.CODEC_JPEG, settings_pb2.DROP_POLICY_ALL, LimitsConfig(max_inbox=64))
    async with _running(bench), asyncio.timeout(30):
        bench.decoders.go.set()
        await bench.send([(number, jpeg(picture()) if number in pictures else b"garbage") for number in range(30)])
        while len(bench.outbox.failures) + len(bench.intake.ready) < 30:  # noqa: ASYNC110
            await asyncio.sleep(0.001)
        await bench.send([(30, jpeg(picture()))])
        assert bench.outbox.accounts.received == 30 + goes_on


async def test_units_of_a_live_video_that_arrive_at_once_are_all_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a hiccup of the network: if one were left out, nobody would be tracked until the next key frame."""
    monkeypatch.setattr(waiting_frames, "_LONGEST_BACKLOG_S", math.inf)  # however slow this test is
    units = encode(Codec.H264, [picture(step) for step in range(30)], key_every=100)
    bench = _Bench(pose_pb2.CODEC_H264, settings_pb2.DROP_POLICY_LATEST)
    async with _running(bench):
        await bench.send(list(enumerate(units)))
        assert bench.outbox.drops == []
        bench.half_close()
        bench.decoders.go.set()
        while (ready := await bench.intake.ready.get()) is not None:
            newest = ready
    assert newest.frame_id.number == 29
    np.testing.assert_allclose(newest.frame.pixels, picture(29), atol=16)


@pytest.mark.parametrize(
    ("every_s", "max_age_ms", "units", "drops"),
    [
        (0.09, 0, 6, 0),
        (0.11, 0, 6, 6),  # the first has waited for half a second
        (0.07, 300, 6, 6),  # it would be too old
        (0.05, 300, 6, 0),
        (0.15, 300, 4, 0),  # too old as well, but fewer than max_inbox wait
    ],
)
async def test_how_long_units_of_a_live_video_wait(every_s: float, max_age_ms: int, units: int, drops: int) -> None:
    config = settings_pb2.StreamConfig(
        codec=pose_pb2.CODEC_H264, drop_policy=settings_pb2.DROP_POLICY_LATEST, max_age_ms=max_age_ms
    )
    settings = settings_from(config, TrackerConfig(), _LIMITS, COCO17)
    outbox = _Recorder()
    inbox = encoded_inbox(settings, _LIMITS, Decoding().decoder(Codec.H264, None, _LIMITS), outbox)
    for number, unit in enumerate(encode(Codec.H264, [picture(step) for step in range(units)], key_every=100)):
        await inbox.put(
            EncodedFrame(number, FrameId(number, None), unit, None, False, number * every_s, None, elapsed=None)
        )
    assert (len(outbox.drops), len(inbox)) == (drops, units - drops)


@pytest.mark.parametrize("why", ["late", "large"])
async def test_a_video_that_overtakes_its_decoder_goes_on_at_a_key_frame(
    why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    units = encode(Codec.H264, [picture(step) for step in range(11)], key_every=8)
    limits = LimitsConfig(max_inbox=1, max_frame_bytes=1024)
    if why == "large":
        units[5] += bytes(1000 - len(units[5]))  # zeros at the end of a unit mean nothing
    bench = _Bench(pose_pb2.CODEC_H264, settings_pb2.DROP_POLICY_LATEST, limits)
    async with _running(bench):
        # A repeated number is another frame's, which must not be reported as dropped, nor come out twice. Its unit is
        # decoded, since 10 builds on it.
        numbers = [0, 1, 2, 2, *range(4, 9), 8, 10]
        frames = list(zip(numbers, units, strict=True))
        await bench.send(frames[:5])  # the decoder stands still
        with monkeypatch.context() as later:
            if why == "late":
                later.setattr(waiting_frames, "_LONGEST_BACKLOG_S", -1.0)
            await bench.send(frames[5:6])
        await bench.send(frames[6:])
        # Unit 0 is being decoded; 1 to 4 wait when 5 arrives, and there is no time or room; 8 is the next key frame.
        assert bench.outbox.drops == [1, 2, 4, 5, 6, 7]
        bench.half_close()
        bench.decoders.go.set()
        shown = []
        while (ready := await bench.intake.ready.get()) is not None:
            shown.append(ready.frame_id.number)
            newest = ready.frame.pixels
    assert bench.outbox.failures == [2, 8]
    assert sorted(shown + bench.outbox.drops) == sorted(set(numbers))
    assert shown[-1] == 10
    np.testing.assert_allclose(newest, picture(10), atol=16)
