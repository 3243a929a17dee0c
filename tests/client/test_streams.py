from __future__ import annotations

import asyncio
import gc
import itertools
import threading
import time
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator
from typing import Any

import numpy as np
import pytest

import posewire
from posewire import AsyncClient, FrameStatus
from posewire.sources import ArraySource
from posewire.v1 import settings_pb2, track_pb2
from tests.client.conftest import Packets, collect, pictures


class Closable(ArraySource):
    def __init__(self, frames: Iterable[Any]):
        super().__init__(frames)
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


class SlowOpening:
    """Replaces `open_source`: a source that opens when the test permits."""

    def __init__(self) -> None:
        self.begun, self.may_end, self.source = threading.Event(), threading.Event(), Closable(pictures(1))

    def __call__(self, source: Any, **_: Any) -> Closable:
        self.begun.set()
        self.may_end.wait()
        return self.source


@pytest.fixture
def slow_opening(monkeypatch: pytest.MonkeyPatch) -> SlowOpening:
    opening = SlowOpening()
    monkeypatch.setattr("posewire._streaming.opening.open_source", opening)
    return opening


# -- streams -----------------------------------------------------------------------------------------------------------


async def test_every_frame_has_its_result_in_order(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client, client.track(pictures(40), similarity="pose") as stream:
        assert stream.info.joint_set.names == ("nose", "left_eye", "right_eye")
        assert stream.info.joint_set.edges == ((0, 1), (0, 2))
        assert stream.info.settings.tracker.similarity == "pose"
        assert stream.summary is None
        results = await collect(stream)
    assert [result.frame for result in results] == list(range(40))
    assert [result.people[0].joints[0, 0] for result in results] == list(range(40))
    assert [result.time_s for result in results] == [number / 25 for number in range(40)]
    assert results[3].size == (64, 48)
    assert results[3].timings_ms["total"] == 1.5
    assert results[3].people[0].box.tolist() == [1, 2, 3, 4]
    assert results[3].people[0].source == "flow"
    assert results[3].raise_for_status() is results[3]
    assert stream.summary == posewire.StreamSummary(frames=40, sent=40, tracked=40, failed=0, dropped=0, identities=1)


async def test_settings_left_out_are_left_to_the_server(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client, client.track(pictures(1), queue_length=5) as stream:
        await collect(stream)
    config = server.service.streams[0].config
    assert config.tracker.queue_length == 5
    assert not config.tracker.HasField("propagation")
    assert not config.HasField("max_age_ms")
    assert config.drop_policy == settings_pb2.DROP_POLICY_ALL  # a list of pictures can wait


async def test_failed_and_dropped_frames_are_results_too(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        frames = [frame async for frame in stream.incoming()]
        yield scripts.tracked(frames[0])
        # Frames 3 and 4 are reported as dropped before 2 has failed.
        response = scripts.tracked(frames[1])
        response.dropped.extend(scripts.dropped(3, 4))
        yield response
        yield scripts.failed(2)
        last = scripts.summary(6, 2, 1, 3)
        last.dropped.extend(scripts.dropped(5, reason=track_pb2.DROP_REASON_TOO_OLD))
        yield last

    server = await serve(script)
    async with AsyncClient(server.address) as client, client.track(pictures(6)) as stream:
        results = await collect(stream)
    assert [(result.frame, str(result.status), result.reason) for result in results] == [
        (0, "tracked", ""),
        (1, "tracked", ""),
        (2, "failed", "undecodable"),
        (3, "dropped", "superseded"),
        (4, "dropped", "superseded"),
        (5, "dropped", "too-old"),
    ]
    assert results[2].message == "cut off; send it whole"
    with pytest.raises(posewire.FrameFailed, match="cut off"):
        results[2].raise_for_status()
    with pytest.raises(posewire.FrameDropped, match="frame 3"):
        results[3].raise_for_status()
    assert stream.summary is not None
    assert (stream.summary.tracked, stream.summary.failed, stream.summary.dropped) == (2, 1, 3)


async def test_boxes_time_and_name_go_with_the_frame(serve: Any) -> None:
    server = await serve()
    frames = [
        posewire.SourceFrame(99, 12.25, image=pictures(1)[0], boxes=[[1, 2, 4, 8]], name="a.png"),
        posewire.SourceFrame(99, 12.5, image=pictures(1)[0], boxes=np.zeros((0, 4))),
        posewire.SourceFrame(99, 13.0, image=pictures(1)[0]),
    ]
    async with AsyncClient(server.address) as client, client.track(frames, keep_images=True) as stream:
        results = await collect(stream)
    sent = server.service.streams[0].frames
    assert [(box.x, box.y, box.width, box.height) for box in sent[0].boxes.boxes] == [(1, 2, 3, 6)]
    assert [frame.HasField("boxes") for frame in sent] == [True, True, False]
    assert [frame.capture_time.ToNanoseconds() for frame in sent] == [12_250_000_000, 12_500_000_000, 13_000_000_000]
    assert [(result.frame, result.time_s, result.name) for result in results] == [
        (0, 12.25, "a.png"),
        (1, 12.5, ""),
        (2, 13.0, ""),
    ]
    assert np.array_equal(results[0].image, frames[0].image)


@pytest.mark.parametrize(
    ("options", "most"),
    [({"max_in_flight": 3}, 3), ({}, 8), ({"drop_policy": "latest"}, 2)],  # asked for; the defaults
)
async def test_no_more_frames_are_under_way_than_allowed(
    serve: Any, scripts: Any, options: dict[str, Any], most: int
) -> None:
    waiting: list[int] = []

    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        # Answers are sent only once no more frames arrive: the client has reached its limit.
        held: list[Any] = []
        incoming = stream.incoming()
        held += [await anext(incoming) for _ in range(most)]
        following = asyncio.ensure_future(anext(incoming))
        await asyncio.wait({following}, timeout=0.2)
        waiting.append(following.done())
        while held:
            yield scripts.tracked(held.pop(0))
            try:
                held.append(await following)
            except StopAsyncIteration:
                continue
            following = asyncio.ensure_future(anext(incoming))
        yield scripts.summary(len(stream.frames), len(stream.frames))

    server = await serve(script)
    async with AsyncClient(server.address) as client, client.track(pictures(40), **options) as stream:
        results = await collect(stream)
    assert waiting == [False]
    assert len(results) == 40


@pytest.mark.parametrize(("line", "takes_s", "least", "most"), [("slow", 0.02, 2, 8), ("long", 0.3, 6, 32)])
async def test_frames_of_a_camera_fill_the_line_and_form_no_queue(
    serve: Any, scripts: Any, line: str, takes_s: float, least: int, most: int
) -> None:
    """A slow line carries one frame after the other, a long one takes as long but carries them all at once."""
    together: list[int] = []

    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        arrived: asyncio.Queue[Any] = asyncio.Queue()
        reading = asyncio.ensure_future(_read_into(arrived, stream))
        answered, due_s = 0, time.monotonic()
        while (item := await arrived.get()) is not None:
            arrived_s, frame = item
            due_s = (max(due_s, arrived_s) if line == "slow" else arrived_s) + takes_s
            await asyncio.sleep(due_s - time.monotonic())
            together.append(len(stream.frames) - answered)
            answered += 1
            yield scripts.tracked(frame)
        await reading
        yield scripts.summary(len(stream.frames), len(stream.frames))

    server = await serve(script)
    async with AsyncClient(server.address) as client, client.track(pictures(40), drop_policy="latest") as stream:
        assert len(await collect(stream)) == 40
    assert least <= max(together[10:]) <= most


async def test_a_decoder_that_begins_to_hold_frames_back_on_a_slow_line_gets_more_of_them(
    serve: Any, scripts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("posewire._streaming.send_window._LONG_FLIGHT_S", -1.0)
    monkeypatch.setattr("posewire._streaming.send_window._SILENCE_S", 0.05)
    monkeypatch.setattr("posewire._streaming.exchange._LOOK_AGAIN_S", 0.02)

    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        held: list[Any] = []
        async for frame in stream.incoming():
            held.append(frame)
            while held and (len(stream.frames) <= 20 or len(held) > 16 or len(stream.frames) == 40):
                response = scripts.tracked(held.pop(0))
                response.tracked.timings.total_ms = 0.0
                yield response
        yield scripts.summary(len(stream.frames), len(stream.frames))

    server = await serve(script)
    source = Packets("K" * 40)
    options = {"codec": "h264", "drop_policy": "latest"}
    async with AsyncClient(server.address, timeout_s=5) as client, client.track(source, **options) as stream:
        assert [result.tracked for result in await collect(stream)] == [True] * 40


async def _read_into(arrived: asyncio.Queue[Any], stream: Any) -> None:
    async for frame in stream.incoming():
        arrived.put_nowait((time.monotonic(), frame))
    arrived.put_nowait(None)


async def test_a_slow_taker_of_results_slows_the_source_down(serve: Any) -> None:
    taken: list[int] = []

    def frames() -> Iterator[Any]:
        for number, picture in enumerate(pictures(30)):
            taken.append(number)
            yield picture

    server = await serve()
    async with AsyncClient(server.address) as client, client.track(frames(), max_in_flight=2) as stream:
        await anext(stream)
        # Nobody takes results: two wait, and the source is only read as far ahead as usual.
        await asyncio.sleep(0.2)
        assert len(server.service.streams[0].frames) == 3
        assert max(taken) <= 6
        assert len(await collect(stream)) == 29


async def test_the_program_sends_frames_of_its_own(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client, client.track(max_in_flight=1) as stream:
        assert await stream.send(pictures(1)[0]) == 0
        assert (await anext(stream)).frame == 0
        assert await stream.send(b"\xff\xd8\xffown", number=7, time_s=1.5, boxes=[[0, 0, 2, 2]]) == 7
        with pytest.raises(posewire.InvalidSettings, match="numbers must increase"):
            await stream.send(pictures(1)[0], number=7)
        with pytest.raises(posewire.InvalidSettings, match="float64"):
            await stream.send(np.zeros((4, 4, 3)))
        await stream.finish()
        results = await collect(stream)
        with pytest.raises(posewire.MisuseError, match="no more frames"):
            await stream.send(pictures(1)[0])
    assert [(result.frame, result.time_s) for result in results] == [(7, 1.5)]
    assert server.service.streams[0].frames[1].data == b"\xff\xd8\xffown"
    assert stream.summary is not None


@pytest.mark.parametrize(
    "unusable",
    [
        {"time_s": float("nan")},
        {"time_s": 1e300},
        {"number": 2**70},
        {"number": 1.5},
        {"number": -1},
        {"boxes": [[0, 0, 1]]},
    ],
)
async def test_a_frame_that_is_refused_leaves_no_trace(serve: Any, unusable: dict[str, Any]) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client, client.track() as stream:
        await stream.send(pictures(1)[0], time_s=1.0)
        with pytest.raises(posewire.InvalidSettings, match="give"):
            await stream.send(pictures(1)[0], **unusable)
        assert await stream.send(pictures(1)[0], time_s=2.0) == 1
        await stream.finish()
        results = await collect(stream)
    assert [(result.frame, result.time_s) for result in results] == [(0, 1.0), (1, 2.0)]
    assert stream.summary == posewire.StreamSummary(frames=2, sent=2, tracked=2, failed=0, dropped=0, identities=1)


@pytest.mark.parametrize(
    ("unusable", "words"),
    [
        ({"time_s": float("nan")}, "frame 1: the frame's time is nan"),
        ({"time_s": float("nan"), "problem": "b.png cannot be read"}, "frame 1: the frame's time is nan"),
        ({"boxes": [[1, 2, 3]]}, "frame 1: boxes have the shape"),
        ({"image": np.zeros((1, 65_501, 3), np.uint8)}, "frame 1: a picture of 65501x1"),
    ],
)
async def test_a_frame_of_a_source_that_is_refused_is_named_after_the_results_before_it(
    serve: Any, unusable: dict[str, Any], words: str
) -> None:
    server = await serve()
    first = posewire.SourceFrame(0, 0.0, image=pictures(1)[0])
    frames = [first, posewire.SourceFrame(**{"number": 1, "time_s": 1.0, "image": pictures(1)[0]} | unusable)]
    async with AsyncClient(server.address) as client, client.track(frames) as stream:
        assert (await anext(stream)).frame == 0
        with pytest.raises(posewire.InvalidSettings, match=words):
            await anext(stream)


async def test_sending_and_taking_overlap(serve: Any, scripts: Any) -> None:
    async def in_pairs(stream: Any) -> AsyncIterator[Any]:
        """Answers a frame only when the next one has arrived."""
        yield await stream.start()
        before = None
        async for frame in stream.incoming():
            if before is not None:
                yield scripts.tracked(before)
            before = frame
        yield scripts.tracked(before)
        yield scripts.summary(len(stream.frames), len(stream.frames))

    server = await serve(in_pairs)
    async with AsyncClient(server.address) as client, client.track() as stream:

        async def send() -> None:
            for picture in pictures(20):
                await stream.send(picture)
            await stream.finish()

        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(send())
            results = await collect(stream)
    assert [result.frame for result in results] == list(range(20))


async def test_frames_that_are_sent_at_once_go_in_the_order_of_the_calls(serve: Any) -> None:
    server = await serve()
    sizes = [(1280, 960), (64, 48)] * 4  # to encode the first of each pair takes far longer
    async with AsyncClient(server.address) as client, client.track(max_in_flight=8) as stream:
        sent = await asyncio.gather(*(stream.send(pictures(1, size)[0]) for size in sizes))
        await stream.finish()
        results = await collect(stream)
    assert sent == [result.frame for result in results] == list(range(8))


async def test_unreadable_frames_fail_and_are_not_sent(serve: Any) -> None:
    server = await serve()
    frames = [
        posewire.SourceFrame(0, 0.0, image=pictures(1)[0]),
        posewire.SourceFrame(1, 0.1, problem="b.png cannot be read", name="b.png"),
        posewire.SourceFrame(2, 0.2, image=pictures(1)[0]),
    ]
    async with AsyncClient(server.address) as client, client.track(frames) as stream:
        results = await collect(stream)
    assert [result.status for result in results] == [FrameStatus.TRACKED, FrameStatus.FAILED, FrameStatus.TRACKED]
    assert (results[1].reason, results[1].message, results[1].name) == ("unreadable", "b.png cannot be read", "b.png")
    assert stream.summary == posewire.StreamSummary(frames=3, sent=2, tracked=2, failed=1, dropped=0, identities=1)


@pytest.mark.parametrize("asynchronous", [False, True])
async def test_of_a_live_source_old_frames_are_dropped_before_they_are_sent(
    serve: Any, scripts: Any, asynchronous: bool
) -> None:
    all_read, may_answer = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def camera() -> Iterator[Any]:
        yield from pictures(10)
        loop.call_soon_threadsafe(all_read.set)

    async def asynchronous_camera() -> AsyncIterator[Any]:
        for picture in camera():
            yield picture

    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            await may_answer.wait()
            yield scripts.tracked(frame)
        yield scripts.summary(len(stream.frames), len(stream.frames))

    server = await serve(script)
    live = ArraySource(asynchronous_camera() if asynchronous else camera(), live=True)
    async with AsyncClient(server.address) as client, client.track(live, max_in_flight=1) as stream:
        await all_read.wait()
        may_answer.set()
        results = await collect(stream)
    assert server.service.streams[0].config.drop_policy == settings_pb2.DROP_POLICY_LATEST
    assert [result.frame for result in results] == list(range(10))
    assert results[9].tracked  # the newest
    dropped = [result for result in results if result.dropped]
    assert len(dropped) >= 7
    assert {result.reason for result in dropped} == {"superseded"}
    assert stream.summary is not None
    assert stream.summary.frames == 10
    assert stream.summary.sent == stream.summary.tracked == 10 - len(dropped)


async def test_a_camera_that_stops_is_an_error_after_its_results(serve: Any, make_video: Any, tmp_path: Any) -> None:
    server = await serve()
    camera = posewire.open_source(make_video(tmp_path / "a.mp4", frames=3), live=True)
    async with AsyncClient(server.address) as client, client.track(camera, drop_policy="all") as stream:
        for number in range(3):
            assert (await anext(stream)).frame == number
        with pytest.raises(posewire.SourceError, match="stopped after 3 frames"):
            await anext(stream)
    assert stream.summary is not None
    assert stream.summary.tracked == 3


async def test_images_that_are_kept_stay_as_they_were_sent(serve: Any) -> None:
    server = await serve()
    buffer = np.zeros((48, 64, 3), np.uint8)
    async with AsyncClient(server.address) as client, client.track(keep_images=True) as stream:
        for number in range(3):
            buffer[:] = number
            await stream.send(buffer)
        await stream.finish()
        assert [int(result.image[0, 0, 0]) for result in await collect(stream)] == [0, 1, 2]


async def test_a_source_that_raises_what_is_no_error_ends_the_stream(serve: Any) -> None:
    def frames() -> Iterator[Any]:
        yield from pictures(3)
        raise asyncio.CancelledError

    server = await serve()
    async with AsyncClient(server.address) as client, client.track(frames()) as stream, asyncio.timeout(10):
        for number in range(3):
            assert (await anext(stream)).frame == number
        with pytest.raises(posewire.SourceError, match="CancelledError"):
            await anext(stream)
    assert stream.summary is not None
    assert stream.summary.tracked == 3


async def test_what_the_source_raises_comes_after_the_results_before_it(serve: Any) -> None:
    def frames() -> Iterator[Any]:
        yield from pictures(3)
        raise LookupError("the disk is gone")

    server = await serve()
    async with AsyncClient(server.address) as client, client.track(frames()) as stream:
        for number in range(3):
            assert (await anext(stream)).frame == number
        with pytest.raises(LookupError, match="the disk is gone"):
            await anext(stream)
    assert stream.summary is not None  # what was sent is accounted for


async def test_a_source_that_cannot_be_opened_opens_no_stream(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        with pytest.raises(posewire.SourceError, match=r"nowhere\.mp4"):
            await client.track("nowhere.mp4").__aenter__()
    assert server.service.streams == []


# -- asynchronous sources ----------------------------------------------------------------------------------------------


async def test_an_asynchronous_generator_gives_the_frames(serve: Any) -> None:
    """In the program's event loop, one buffer for all pictures, and not asked for more than `max_frames`."""
    loop = asyncio.get_running_loop()

    async def frames() -> AsyncIterator[Any]:
        buffer = np.zeros((48, 64, 3), np.uint8)
        for number in range(5):
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is loop
            buffer[:] = number
            yield buffer
        raise AssertionError("asked for a sixth frame")

    server = await serve()
    async with (
        AsyncClient(server.address) as client,
        client.track(frames(), max_frames=5, keep_images=True) as stream,
    ):
        results = await collect(stream)
    assert [int(result.image[0, 0, 0]) for result in results] == [0, 1, 2, 3, 4]
    assert stream.summary is not None
    assert stream.summary.tracked == 5


@pytest.mark.parametrize("left", ["block", "client"])
async def test_leaving_ends_what_an_asynchronous_source_waits_for(
    serve: Any, left: str, caplog: pytest.LogCaptureFixture
) -> None:
    ended = asyncio.Event()

    async def stopped_camera() -> AsyncIterator[Any]:
        try:
            yield pictures(1)[0]
            await asyncio.Event().wait()
        finally:
            ended.set()

    server = await serve()
    client = AsyncClient(server.address)
    stream = await client.track(stopped_camera()).__aenter__()
    assert (await anext(stream)).tracked
    async with asyncio.timeout(5):
        await (stream if left == "block" else client).aclose()
        await ended.wait()
    await client.aclose()
    assert "left behind" not in caplog.text


@pytest.mark.parametrize(
    ("raised", "kind"), [(LookupError("gone"), LookupError), (asyncio.CancelledError("gone"), posewire.SourceError)]
)
async def test_what_an_asynchronous_source_raises_comes_after_its_frames(
    serve: Any, raised: BaseException, kind: type[Exception]
) -> None:
    async def frames() -> AsyncIterator[Any]:
        for picture in pictures(3):
            yield picture
        raise raised

    server = await serve()
    async with AsyncClient(server.address) as client, client.track(frames()) as stream, asyncio.timeout(10):
        for number in range(3):
            assert (await anext(stream)).frame == number
        with pytest.raises(kind, match=r"gone|CancelledError"):
            await anext(stream)
    assert stream.summary is not None


# -- leaving early -----------------------------------------------------------------------------------------------------


async def test_leaving_the_block_cancels_the_call_at_the_server_and_closes_the_source(serve: Any) -> None:
    class SlowToClose(Closable):
        def close(self) -> None:
            time.sleep(0.1)
            super().close()

    server = await serve()
    source = SlowToClose(itertools.cycle(pictures(1)))
    async with AsyncClient(server.address) as client:
        async with client.track(source) as stream:
            async for result in stream:
                if result.frame == 5:
                    break
        assert source.closed.is_set()  # a camera may be opened again
        async with asyncio.timeout(5):
            await server.service.ended.wait()
        with pytest.raises(posewire.MisuseError, match="closed before its end"):
            await collect(stream)
        left = weakref.ref(stream)
        # The client can still be used.
        async with client.track(pictures(2)) as stream:
            assert len(await collect(stream)) == 2
        gc.collect()
        assert left() is None  # the client does not keep it


async def test_cancelling_the_program_cancels_the_stream(serve: Any) -> None:
    server = await serve()
    opened = asyncio.Event()

    async def watch(client: AsyncClient) -> None:
        async with client.track() as stream:
            opened.set()
            await anext(stream)

    async with AsyncClient(server.address) as client:
        watching = asyncio.create_task(watch(client))
        await opened.wait()
        watching.cancel()
        with pytest.raises(asyncio.CancelledError):
            await watching
        async with asyncio.timeout(5):
            await server.service.ended.wait()


@pytest.mark.parametrize("ended", ["task", "stream", "client"])
async def test_a_stream_that_ends_while_its_source_opens_is_over_at_once(
    serve: Any, slow_opening: SlowOpening, ended: str
) -> None:
    server = await serve()
    client = AsyncClient(server.address)
    stream = client.track(pictures(1))
    entering = asyncio.create_task(stream.__aenter__())
    await asyncio.to_thread(slow_opening.begun.wait)
    if ended == "task":
        entering.cancel()
    else:
        await (stream if ended == "stream" else client).aclose()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError if ended == "task" else posewire.MisuseError):
            await entering
    slow_opening.may_end.set()
    assert await asyncio.to_thread(slow_opening.source.closed.wait, 5)
    await client.aclose()
    assert server.service.streams == []


async def test_a_source_that_opens_slowly_keeps_no_other_stream_waiting(serve: Any, slow_opening: SlowOpening) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client, client.track() as stream:
        client._workers._most = 1
        opening = asyncio.create_task(client.track(pictures(1)).__aenter__())
        await asyncio.to_thread(slow_opening.begun.wait)
        async with asyncio.timeout(10):
            await stream.send(pictures(1)[0])
            assert (await anext(stream)).tracked
        slow_opening.may_end.set()
        await opening


async def test_a_stream_that_is_closed_at_once_is_over(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        async with client.track() as stream:
            pass  # nothing of it has run yet
        async with asyncio.timeout(10):
            with pytest.raises(posewire.MisuseError, match="closed"):
                await anext(stream)


async def test_closing_the_client_closes_its_streams(serve: Any) -> None:
    server = await serve()
    client = AsyncClient(server.address)
    stream = await client.track().__aenter__()
    waiting = asyncio.ensure_future(anext(stream))
    await client.aclose()
    with pytest.raises(posewire.MisuseError, match="closed"):
        await waiting
    with pytest.raises(posewire.MisuseError, match="client is closed"):
        client.track()
    await client.aclose()


@pytest.mark.parametrize("closed", ["stream", "client"])
async def test_closing_releases_everything_however_often_it_is_cancelled(serve: Any, closed: str) -> None:
    server = await serve()
    source = Closable(itertools.cycle(pictures(1)))
    client = AsyncClient(server.address)
    stream = await client.track(source).__aenter__()
    await anext(stream)
    closing = asyncio.create_task(stream.aclose() if closed == "stream" else client.aclose())
    await asyncio.sleep(0)  # it has begun
    while not closing.done():
        closing.cancel()
        await asyncio.sleep(0)
    assert closing.cancelled()
    assert await asyncio.to_thread(source.closed.wait, 5)
    async with asyncio.timeout(5):
        await server.service.ended.wait()
    with pytest.raises(posewire.MisuseError, match="closed before its end"):
        await collect(stream)
    if closed == "client":
        assert not client._connections._channels
    await client.aclose()


async def test_closing_the_client_ends_the_opening_of_a_stream_but_cancels_no_task(serve: Any) -> None:
    async def silent(stream: Any) -> AsyncIterator[Any]:
        called.set()
        await asyncio.Event().wait()
        yield

    called = asyncio.Event()
    server = await serve(silent)
    client = AsyncClient(server.address)
    source = Closable(pictures(1))
    opening = asyncio.create_task(client.track(source).__aenter__())
    await called.wait()
    await client.aclose()
    with pytest.raises(posewire.MisuseError, match="closed before its end"):
        await opening
    assert source.closed.is_set()


async def test_what_was_opened_just_before_the_stream_is_closed_is_closed_too(serve: Any) -> None:
    server = await serve()
    source = Closable(pictures(1))
    async with AsyncClient(server.address) as client:
        stream = client.track(source)
        entering = asyncio.create_task(stream.__aenter__())
        while stream._opening is None or not stream._opening.done():  # noqa: ASYNC110
            await asyncio.sleep(0)
        await stream.aclose()  # before `entering` has taken what was opened
        with pytest.raises(posewire.MisuseError, match="closed before its end"):
            await entering
        assert source.closed.is_set()
        async with asyncio.timeout(5):
            await server.service.ended.wait()


async def test_a_stream_that_is_not_open_says_how_to_open_it(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        stream = client.track(pictures(1))
        with pytest.raises(posewire.MisuseError, match="async with"):
            await anext(stream)
        async with stream:
            with pytest.raises(posewire.MisuseError, match="its source"):
                await stream.send(pictures(1)[0])
            with pytest.raises(posewire.MisuseError, match="opened before"):
                await stream.__aenter__()
            await collect(stream)
        with pytest.raises(posewire.MisuseError, match="opened before"):
            await stream.__aenter__()
        closed = client.track(pictures(1))
        await closed.aclose()
        with pytest.raises(posewire.MisuseError, match="or closed"):
            await closed.__aenter__()


async def test_streams_of_one_client_run_side_by_side(serve: Any) -> None:
    server = await serve()

    async def run(client: AsyncClient, count: int) -> int:
        async with client.track(pictures(count)) as stream:
            return len(await collect(stream))

    async with AsyncClient(server.address) as client:
        counts = await asyncio.gather(*(run(client, count) for count in range(1, 6)))
    assert counts == [1, 2, 3, 4, 5]


async def test_raw_frames_have_one_size(serve: Any) -> None:
    server = await serve()
    mixed = [*pictures(1), *pictures(1, size=(32, 32))]
    async with AsyncClient(server.address) as client:
        with pytest.raises(posewire.InvalidSettings, match="raw_size"):
            await client.track(mixed, codec="raw").__aenter__()
        async with client.track(mixed, codec="raw", raw_size=(64, 48)) as stream:
            with pytest.raises(posewire.InvalidSettings, match="frame 1 is 32x32"):
                await collect(stream)
    frame = server.service.streams[0].frames[0]
    assert frame.data == mixed[0].tobytes()


@pytest.mark.parametrize(
    ("policy", "time_s", "told"),
    [
        ("latest", None, True),  # now is about when the camera took it
        ("all", None, False),  # now is when the server had room
        ("all", 3.0, True),
    ],
)
async def test_a_time_that_only_tells_the_servers_pace_is_not_sent(
    serve: Any, policy: Any, time_s: float | None, told: bool
) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client, client.track(drop_policy=policy) as stream:
        await stream.send(pictures(1)[0], time_s=time_s)
        await stream.finish()
        (result,) = [each async for each in stream]
    (sent,) = server.service.streams[0].frames
    assert sent.HasField("capture_time") is told
    assert result.time_s > 0
