"""Streams that lose their server and are resumed; the servers fail according to a script."""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest

import posewire
from posewire import AsyncClient, ReconnectSettings
from posewire.sources import ArraySource
from posewire.v1 import track_pb2
from tests.client.conftest import Packets, collect, pictures, shorten_timeout
from tests.processes.proxy import Proxy

QUICK = ReconnectSettings(initial_s=0.01, max_s=0.05, give_up_after_s=0.5)


class Mortal:
    """A script of one call after the other; call `n` ends after `lives[n]` answers, the last one lives on.

    As the real server does, it gives tokens, and takes them back.
    """

    def __init__(self, scripts: Any, *lives: int, token_every: int = 1, ending: Any = None, refusal: str = "") -> None:
        self.scripts = scripts
        self.lives = list(lives)
        self.token_every = token_every
        self.ending = ending or self.die
        self.refusal = refusal
        self.resumed_from: list[tuple[bytes, bytes]] = []
        self.seen: list[list[int]] = []

    async def die(self, stream: Any) -> None:
        await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")

    async def __call__(self, stream: Any) -> AsyncIterator[Any]:
        started = await stream.start()
        resume = stream.config.resume
        if stream.config.HasField("resume"):
            self.resumed_from.append((resume.token, resume.last_frame))
            started.started.resume.resumed = not self.refusal
            started.started.resume.refusal = self.refusal
        yield started
        life = self.lives.pop(0) if self.lives else None
        answered = 0
        self.seen.append([])
        async for frame in stream.incoming():
            self.seen[-1].append(frame.number)
            if answered == life:
                await self.ending(stream)
            response = self.scripts.tracked(frame)
            if answered % self.token_every == 0:
                response.resume_token = b"token of %d" % frame.number
            answered += 1
            yield response
        yield self.scripts.summary(answered, answered)


class DamagingProxy(Proxy):
    """Damages every response that holds one of two words, so that it cannot be parsed: texts are UTF-8."""

    def _corrupted(self, data: bytes) -> bytes:
        return re.sub(b"damaged|threads", b"\xff" * 7, data)


# -- every frame counts ------------------------------------------------------------------------------------------------


async def test_a_response_that_is_damaged_on_its_way_costs_no_frame(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            response = scripts.tracked(frame)
            if frame.number == 2 and spoils.pop():
                response = scripts.failed(2)
                response.failed.message = "damaged"
            yield response
        yield scripts.summary(len(stream.frames), len(stream.frames))

    spoils = [False, True, True]
    server = await serve(script)
    proxy = DamagingProxy(server.address, random.Random(0))
    proxy.corrupts = 1
    await proxy.start()
    events: list[posewire.Reconnected] = []
    async with AsyncClient(proxy.address, reconnect=None) as client, client.track(pictures(5)) as stream:
        with pytest.raises(posewire.ConnectionLost, match="damaged on its way"):
            await collect(stream)
    client = AsyncClient(proxy.address, reconnect=QUICK)
    async with client, client.track(pictures(5), on_reconnect=events.append) as stream:
        assert [result.tracked for result in await collect(stream)] == [True] * 5
    assert [event.cause for event in events] == [
        "a response of the stream s1 cannot be read: it was damaged on its way, or is none of posewire's"
    ]
    async with AsyncClient(proxy.address) as client:
        with pytest.raises(posewire.ServerFailed, match="the answer cannot be read"):
            await client.server_info()
    await proxy.close()


@pytest.mark.parametrize("token_every", [1, 3])
async def test_a_file_loses_no_frame_and_raises_nothing(serve: Any, scripts: Any, token_every: int) -> None:
    script = Mortal(scripts, 5, 4, token_every=token_every)
    server = await serve(script)
    events: list[posewire.Reconnected] = []
    client = AsyncClient(server.address, reconnect=QUICK)
    async with client, client.track(pictures(40), on_reconnect=events.append) as stream:
        results = await collect(stream)
        assert stream.reconnects == 2
    assert [(result.frame, result.tracked) for result in results] == [(number, True) for number in range(40)]
    assert stream.summary == posewire.StreamSummary(40, 40, 40, 0, 0, identities=1, reconnects=2)
    assert [event.resumed for event in events] == [True, True]
    assert [result.reconnected for result in results if result.reconnected is not None] == events
    assert events[0].lost == ()
    assert "the stream s1 broke" in events[0].cause


async def test_the_tracker_sees_again_what_came_after_the_newest_token(serve: Any, scripts: Any) -> None:
    script = Mortal(scripts, 6, token_every=4)  # tokens with frames 0 and 4; frame 5 is the last that is answered
    server = await serve(script)
    client = AsyncClient(server.address, reconnect=QUICK)
    async with client, client.track(pictures(12), max_in_flight=2) as stream:
        results = await collect(stream)
    assert len(results) == 12
    ((token, last_frame),) = script.resumed_from
    assert token == b"token of 4"
    assert last_frame == server.service.streams[0].frames[4].data  # the frame to which the token belongs
    assert script.seen[1][:3] == [5, 6, 7]  # 5 once more, then what was never answered
    assert stream.summary is not None
    assert stream.summary.sent == stream.summary.tracked == 12


async def test_boxes_are_sent_again_too(serve: Any, scripts: Any) -> None:
    script = Mortal(scripts, 1)
    server = await serve(script)
    frames = [
        posewire.SourceFrame(number, 0.5 * number, image=pictures(1)[0], boxes=[[1, 2, 4, 8]]) for number in range(3)
    ]
    async with AsyncClient(server.address, reconnect=QUICK) as client, client.track(frames) as stream:
        await collect(stream)
    again = server.service.streams[1].frames[0]
    assert again.number == 1
    assert again.boxes.boxes[0].height == 6
    assert again.capture_time.ToMilliseconds() == 500


async def test_frames_of_the_program_wait_for_a_server(serve: Any, scripts: Any) -> None:
    script = Mortal(scripts, 2)
    server = await serve(script)
    async with AsyncClient(server.address, reconnect=QUICK) as client, client.track() as stream:
        for picture in pictures(9):
            await stream.send(picture)
        await stream.finish()
        results = await collect(stream)
    assert [(result.frame, result.tracked) for result in results] == [(number, True) for number in range(9)]


async def test_a_server_that_dies_with_nothing_left_to_do_is_not_missed(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            yield scripts.tracked(frame)
        await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=QUICK) as client, client.track(pictures(4)) as stream:
        assert len(await collect(stream)) == 4
    assert stream.summary == posewire.StreamSummary(4, 4, 4, 0, 0, identities=7)
    assert len(server.service.streams) == 1


async def test_a_file_waits_for_a_server_under_latest_too(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        call = len(server.service.streams)
        if call in (2, 3, 4):
            await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        yield await stream.start()
        async for frame in stream.incoming():
            yield scripts.tracked(frame)
            if call == 1 and frame.number == 2:
                await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")
        yield scripts.summary(len(stream.frames), len(stream.frames))

    server = await serve(script)
    client = AsyncClient(server.address, reconnect=ReconnectSettings(initial_s=0.05, max_s=0.1))
    async with client, client.track(pictures(200), drop_policy="latest", max_in_flight=1) as stream:
        results = await collect(stream)
    assert sum(result.dropped for result in results) <= 1  # the one that was under way


async def test_what_on_reconnect_raises_does_not_end_the_stream(serve: Any, scripts: Any) -> None:
    def fail(_: posewire.Reconnected) -> None:
        raise LookupError("a fault of the program")

    server = await serve(Mortal(scripts, 2))
    client = AsyncClient(server.address, reconnect=QUICK)
    async with client, client.track(pictures(6), on_reconnect=fail) as stream:
        assert [result.tracked for result in await collect(stream)] == [True] * 6


# -- cameras -----------------------------------------------------------------------------------------------------------


async def test_a_camera_drops_what_was_under_way_and_goes_on(serve: Any, scripts: Any) -> None:
    async def dies_with_three_under_way(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            if frame.number == 5:
                await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")
            if frame.number < 3:
                yield scripts.tracked(frame)

    servers = [await serve(dies_with_three_under_way), await serve()]
    client = AsyncClient([server.address for server in servers], reconnect=QUICK)
    async with client, client.track(drop_policy="latest") as stream:
        for picture in pictures(6):
            await stream.send(picture)
        results = [await anext(stream) for _ in range(6)]
        while not stream.reconnects:  # noqa: ASYNC110  the program is told with the first result, which it causes itself
            await asyncio.sleep(0.001)
        await stream.send(pictures(1)[0])
        await stream.finish()
        (last,) = await collect(stream)
    assert [result.reason for result in results] == [""] * 3 + ["disconnected"] * 3
    assert (last.frame, last.tracked) == (6, True)
    assert last.reconnected is not None
    assert last.reconnected.lost == (3, 4, 5)
    # Person 7 of the first server, and the one id that the second reports.
    assert stream.summary == posewire.StreamSummary(7, 7, 4, 0, 3, identities=7 + 1, reconnects=1)


async def test_while_there_is_no_server_a_camera_is_told_so_at_once(serve: Any, scripts: Any) -> None:
    away = asyncio.Event()

    async def script(stream: Any) -> AsyncIterator[Any]:
        if away.is_set():
            await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "not yet")
        yield await stream.start()
        async for frame in stream.incoming():
            if frame.number == 1:
                away.set()
                await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")
            yield scripts.tracked(frame)
        yield scripts.summary(len(stream.frames), len(stream.frames))

    server = await serve(script)
    patient = ReconnectSettings(initial_s=0.01, max_s=0.01)
    async with AsyncClient(server.address, reconnect=patient) as client, client.track(drop_policy="latest") as stream:
        for number in range(2):
            await stream.send(pictures(1)[0])
            if number == 0:
                assert (await anext(stream)).tracked
        lost = await anext(stream)
        assert (lost.frame, lost.reason) == (1, "disconnected")
        for number in range(2, 5):
            await stream.send(pictures(1)[0])
            missed = await anext(stream)
            assert (missed.frame, missed.reason) == (number, "disconnected")
        away.clear()
        results: list[posewire.FrameResult] = []
        while not (results and results[-1].tracked):
            await stream.send(pictures(1)[0])
            results.append(await anext(stream))
        assert results[-1].reconnected is not None
        assert not results[-1].reconnected.resumed
        assert "no resume token" in results[-1].reconnected.refusal
        await stream.finish()
        assert await collect(stream) == []
    assert stream.summary is not None
    assert stream.summary.sent == 3


async def test_a_camera_that_ends_while_there_is_no_server_waits_for_none(serve: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        if len(server.service.streams) > 1:
            searching.set()
            await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "still dead")
        yield await stream.start()
        async for _ in stream.incoming():
            await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")

    searching = asyncio.Event()
    server = await serve(script)
    client = AsyncClient(server.address, reconnect=ReconnectSettings(initial_s=100, max_s=100, give_up_after_s=300))
    async with asyncio.timeout(20), client, client.track(drop_policy="latest") as stream:
        await stream.send(pictures(1)[0])
        assert (await anext(stream)).reason == "disconnected"
        await searching.wait()
        await asyncio.sleep(0.2)  # the next attempt is minutes away
        await stream.finish()
        assert await collect(stream) == []
    assert stream.summary == posewire.StreamSummary(1, 1, 0, 0, 1, identities=0)
    assert len(server.service.streams) == 2


async def test_a_camera_that_has_ended_looks_for_no_server(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            if frame.number == 0:
                yield scripts.tracked(frame)
        await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")

    server = await serve(script)
    client = AsyncClient(server.address, reconnect=QUICK)
    async with client, client.track(ArraySource(iter(pictures(2)), live=True), drop_policy="latest") as stream:
        results = await collect(stream)
    assert results[-1].dropped
    assert stream.summary is not None
    assert len(server.service.streams) == 1


async def test_packets_wait_for_the_next_keyframe(serve: Any, scripts: Any) -> None:
    script = Mortal(scripts, 1)
    server = await serve(script)

    client = AsyncClient(server.address, reconnect=QUICK)
    async with client, client.track(Packets(3 * "Kppppppp"), codec="h264", max_in_flight=1) as stream:
        results = await collect(stream)
    outcome = ["tracked" if result.tracked else result.reason for result in results]
    assert outcome == ["tracked"] + ["disconnected"] * 7 + ["tracked"] * 16
    assert script.seen[1][0] == 8


async def test_a_packet_that_comes_while_there_is_no_server_is_given_up_at_once(serve: Any, scripts: Any) -> None:
    lost, told = threading.Event(), asyncio.Event()

    class WaitingPackets(Packets):
        def __iter__(self) -> Iterator[posewire.SourceFrame]:
            for frame in super().__iter__():
                if frame.number == 2:
                    lost.wait(20)
                yield frame

    async def script(stream: Any) -> AsyncIterator[Any]:
        if len(server.service.streams) == 2:
            lost.set()
            await told.wait()
        yield await stream.start()
        async for frame in stream.incoming():
            if frame.number == 1:
                await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")
            yield scripts.tracked(frame)
        yield scripts.summary(len(stream.frames), len(stream.frames))

    server = await serve(script)
    client = AsyncClient(server.address, reconnect=QUICK)
    outcome = []
    async with asyncio.timeout(20), client, client.track(WaitingPackets("KppK"), codec="h264") as stream:
        async for result in stream:
            outcome.append("tracked" if result.tracked else result.reason)
            if result.frame == 2:
                told.set()
    assert outcome == ["tracked", "disconnected", "disconnected", "tracked"]


# -- which server ------------------------------------------------------------------------------------------------------


async def test_another_server_takes_over(serve: Any, scripts: Any) -> None:
    first, second = Mortal(scripts, 3), Mortal(scripts)
    servers = [await serve(first), await serve(second)]
    addresses = [server.address for server in servers]
    client = AsyncClient(addresses, reconnect=QUICK)
    async with client, client.track(pictures(8)) as stream:
        assert stream.address == addresses[0]
        results = await collect(stream)
        assert len(results) == 8
        (told,) = [result.reconnected for result in results if result.reconnected is not None]
        assert (told.address, told.resumed, told.refusal) == (addresses[1], True, "")
        assert stream.address == client.address == addresses[1]
        assert (await client.server_info()).version == "9.9"
    assert second.resumed_from[0][0] == b"token of 2"


async def test_why_a_server_is_passed_over_is_told_whole(
    serve: Any, unused_tcp_port: int, caplog: pytest.LogCaptureFixture
) -> None:
    server = await serve()
    async with AsyncClient([f"127.0.0.1:{unused_tcp_port}", server.address]) as client:
        assert (await client.server_info()).version == "9.9"
    (said,) = [record.getMessage() for record in caplog.records if "another server" in record.getMessage()]
    assert re.search(r"can be reached at 127\.0\.0\.1:\d+ \(.*\); trying another server$", said)


async def test_a_server_that_refuses_does_not_end_a_stream_that_another_would_take(serve: Any, scripts: Any) -> None:
    async def refuses(stream: Any) -> AsyncIterator[Any]:
        await stream.context.abort(grpc.StatusCode.UNAUTHENTICATED, "an old list of tokens")
        yield

    servers = [await serve(Mortal(scripts, 2)), await serve(refuses), await serve(Mortal(scripts))]
    client = AsyncClient([server.address for server in servers], reconnect=QUICK)
    async with client, client.track(pictures(6)) as stream:
        assert [result.tracked for result in await collect(stream)] == [True] * 6
        assert stream.address == servers[2].address


async def test_a_stream_opens_at_the_first_server_that_is_there(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(["127.0.0.1:1", server.address]) as client:
        assert (await client.server_info()).version == "9.9"
        async with client.track(pictures(2)) as stream:
            assert len(await collect(stream)) == 2


@pytest.mark.parametrize("status", [None, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.INTERNAL])
async def test_calls_and_streams_pass_over_the_same_servers(serve: Any, status: grpc.StatusCode | None) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        if status is None:  # it hangs
            await asyncio.Event().wait()
        await stream.context.abort(status, "as the script says")
        yield

    first, second = await serve(script), await serve()
    first.service.silent, first.service.status = status is None, status
    for act in (AsyncClient.server_info, _estimate, _track_two):
        async with AsyncClient([first.address, second.address], timeout_s=1) as client:
            await act(client)
            assert client.address == second.address


async def _estimate(client: AsyncClient) -> None:
    await client.estimate_poses(pictures(1)[0])


async def _track_two(client: AsyncClient) -> None:
    async with client.track(pictures(2)) as stream:
        assert len(await collect(stream)) == 2


async def test_a_drain_leads_to_another_server_at_once(serve: Any, scripts: Any) -> None:
    async def drains(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        incoming = stream.incoming()
        first = await anext(incoming)
        yield scripts.tracked(first)
        yield track_pb2.TrackResponse(drain=track_pb2.Drain(), resume_token=b"on drain")
        rest = [frame.number async for frame in incoming]
        last = scripts.summary(1 + len(rest), 1, 0, len(rest))
        last.dropped.extend(scripts.dropped(*rest, reason=track_pb2.DROP_REASON_DRAINING))
        yield last

    second = Mortal(scripts)
    servers = [await serve(drains), await serve(second)]
    client = AsyncClient([server.address for server in servers], reconnect=QUICK)
    async with client, client.track(pictures(30)) as stream:
        results = await collect(stream)
    assert all(result.tracked for result in results)  # what the first server gave up, the second one got
    assert len(results) == 30
    assert second.resumed_from == [(b"on drain", servers[0].service.streams[0].frames[0].data)]
    assert stream.summary is not None
    assert stream.summary.reconnects == 1


async def test_the_account_of_a_server_that_goes_away_is_checked_too(serve: Any, scripts: Any) -> None:
    async def drains(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        incoming = stream.incoming()
        numbers = [(await anext(incoming)).number for _ in range(3)]
        yield track_pb2.TrackResponse(drain=track_pb2.Drain())
        last = scripts.summary(9, 0, 0, 3)
        last.dropped.extend(scripts.dropped(*numbers, reason=track_pb2.DROP_REASON_DRAINING))
        yield last

    server = await serve(drains)
    async with AsyncClient(server.address, reconnect=QUICK) as client, client.track(pictures(3)) as stream:
        with pytest.raises(posewire.AccountingError, match="received 9 for 3"):
            await collect(stream)


async def test_a_server_that_goes_away_while_frames_are_sent_to_it_again_is_left_too(serve: Any, scripts: Any) -> None:
    async def drains(stream: Any) -> AsyncIterator[Any]:
        started = await stream.start()
        started.started.resume.resumed = True
        yield started
        yield track_pb2.TrackResponse(drain=track_pb2.Drain(), resume_token=b"on drain")
        numbers = [frame.number async for frame in stream.incoming()]  # until the client sends no more
        last = scripts.summary(len(numbers), 0, 0, len(numbers))
        last.dropped.extend(scripts.dropped(*numbers, reason=track_pb2.DROP_REASON_DRAINING))
        yield last

    last = Mortal(scripts)
    servers = [await serve(Mortal(scripts, 3, token_every=3)), await serve(drains), await serve(last)]
    client = AsyncClient([server.address for server in servers], reconnect=QUICK)
    async with asyncio.timeout(20), client, client.track(pictures(30)) as stream:
        results = await collect(stream)
        assert stream.reconnects == 2
    assert [(result.frame, result.tracked) for result in results] == [(number, True) for number in range(30)]
    # It tracked nothing, so its token is still that of the first frame.
    assert last.resumed_from == [(b"on drain", servers[0].service.streams[0].frames[0].data)]
    assert last.seen == [list(range(1, 30))]


async def test_a_stream_that_is_lost_before_its_first_token_is_taken_up_where_it_was(serve: Any, scripts: Any) -> None:
    script = Mortal(scripts, 0)
    server = await serve(script)
    start = posewire.ResumePoint(b"of the first stream", b"frame")
    client = AsyncClient(server.address, reconnect=QUICK)
    async with client, client.track(pictures(4), resume=start) as stream:
        assert stream.resume_point == start
        assert all(result.tracked for result in await collect(stream))
    assert script.resumed_from == [(b"of the first stream", b"frame")] * 2


async def test_a_point_that_is_refused_at_the_start_is_not_kept(serve: Any, scripts: Any) -> None:
    server = await serve(Mortal(scripts, refusal="the token is 70 s old"))
    start = posewire.ResumePoint(b"of the first stream", b"frame")
    async with AsyncClient(server.address) as client, client.track(pictures(1), resume=start) as stream:
        assert stream.resume_point is None
        await collect(stream)


async def test_a_refused_token_is_told(serve: Any, scripts: Any) -> None:
    script = Mortal(scripts, 2, refusal="the token is 70 s old")
    server = await serve(script)
    async with AsyncClient(server.address, reconnect=QUICK) as client, client.track(pictures(6)) as stream:
        results = await collect(stream)
    (event,) = [result.reconnected for result in results if result.reconnected is not None]
    assert not event.resumed
    assert "70 s old" in event.refusal
    assert "ids start anew" in str(event)
    assert script.seen[1][0] == 2  # what came before is not shown to a tracker that starts anew


async def test_ids_that_began_anew_are_told_though_the_server_went_away_before_it_tracked_a_frame(
    serve: Any, scripts: Any
) -> None:
    """It sent a token of a tracker without people, from which the next server resumes."""

    async def go_away(stream: Any) -> AsyncIterator[Any]:
        started = await stream.start()
        started.started.resume.refusal = "another key"
        yield started
        yield track_pb2.TrackResponse(drain=track_pb2.Drain(), resume_token=b"of nobody")
        given_up = [frame.number async for frame in stream.incoming()]
        last = scripts.summary(len(given_up), 0, 0, len(given_up))
        last.dropped.extend(scripts.dropped(*given_up, reason=track_pb2.DROP_REASON_DRAINING))
        yield last

    last = Mortal(scripts)
    servers = [await serve(script) for script in (Mortal(scripts, 2), go_away, last)]
    events: list[posewire.Reconnected] = []
    client = AsyncClient([server.address for server in servers], reconnect=QUICK)
    async with client, client.track(pictures(6), on_reconnect=events.append) as stream:
        results = await collect(stream)
    assert [event.resumed for event in events] == [False, True]
    assert last.resumed_from[0][0] == b"of nobody"
    (told,) = [result.reconnected for result in results if result.reconnected is not None]
    assert (told.address, told.resumed, told.refusal) == (servers[2].address, False, "another key")


async def test_the_first_frame_that_is_tracked_tells_of_a_loss(serve: Any, scripts: Any) -> None:
    """Not a failed one: programs that follow ids look at tracked results."""

    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            if len(server.service.streams) == 1 and frame.number == 1:
                await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")
            yield scripts.failed(1) if frame.number == 1 else scripts.tracked(frame)
        yield scripts.summary(3, 2, 1)

    server = await serve(script)
    loop = asyncio.get_running_loop()
    began_s = loop.time()
    client = AsyncClient([server.address, "127.0.0.1:1"], reconnect=ReconnectSettings(initial_s=0.01, max_s=0.01))
    async with client, client.track(pictures(4), max_in_flight=1) as stream:
        results = await collect(stream)
    assert [result.status for result in results] == ["tracked", "failed", "tracked", "tracked"]
    (told,) = [result.reconnected for result in results if result.reconnected is not None]
    assert told is results[2].reconnected
    assert (told.address, told.stream_id, told.attempts, told.resent) == (server.address, "s1", 2, 1)
    assert 0 < told.outage_s < loop.time() - began_s


@pytest.mark.parametrize("asked", [None, "coco17"])
async def test_joints_stay_as_the_first_server_named_them(serve: Any, scripts: Any, asked: str | None) -> None:
    servers = [await serve(Mortal(scripts, 2)), await serve(Mortal(scripts))]
    client = AsyncClient([server.address for server in servers], reconnect=QUICK)
    async with client, client.track(pictures(5), joint_set=asked) as stream:
        assert len(await collect(stream)) == 5
    assert [server.service.streams[0].config.joint_set for server in servers] == [asked or "", "three"]


async def test_a_stream_ends_where_joints_would_mean_something_else(serve: Any, scripts: Any) -> None:
    async def of_other_joints(stream: Any) -> AsyncIterator[Any]:
        started = await stream.start()
        started.started.joint_set.names[1] = "neck"
        yield started
        async for frame in stream.incoming():
            yield scripts.tracked(frame)

    servers = [await serve(Mortal(scripts, 2)), await serve(of_other_joints)]
    client = AsyncClient([server.address for server in servers], reconnect=QUICK)
    async with client, client.track(pictures(5), max_in_flight=1) as stream:
        assert [(await anext(stream)).frame for _ in range(2)] == [0, 1]
        words = r"other joints .*: nose, neck, right_eye instead of nose, left_eye"
        with pytest.raises(posewire.StreamBroken, match=words) as caught:
            await anext(stream)
    assert caught.value.unanswered == (2,)
    assert servers[1].address in str(caught.value)


# -- giving up ---------------------------------------------------------------------------------------------------------


async def test_it_is_given_up_in_the_end(serve: Any, scripts: Any) -> None:
    dead = asyncio.Event()

    async def script(stream: Any) -> AsyncIterator[Any]:
        if dead.is_set():
            await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "still dead")
        yield await stream.start()
        async for frame in stream.incoming():
            yield scripts.tracked(frame)
            dead.set()
            await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=QUICK) as client, client.track(pictures(5)) as stream:
        assert (await anext(stream)).tracked
        with pytest.raises(posewire.ConnectionLost, match=r"given up after .* attempts.*still dead") as caught:
            await collect(stream)
    assert 1 in caught.value.unanswered


@pytest.mark.parametrize("outcome", ["tracked", "failed"])
async def test_a_stream_that_gets_on_may_be_lost_as_often_as_it_is(serve: Any, scripts: Any, outcome: str) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        """One frame per call; the last call takes all remaining ones."""
        yield await stream.start()
        answered = 0
        async for frame in stream.incoming():
            if answered and frame.number < 15:
                await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")
            response = scripts.tracked(frame) if outcome == "tracked" else scripts.failed(frame.number)
            response.resume_token = b"token"
            answered += 1
            yield response
        yield scripts.summary(answered, *((answered,) if outcome == "tracked" else (0, answered)))

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=QUICK) as client, client.track(pictures(20)) as stream:
        assert [result.status for result in await collect(stream)] == [outcome] * 20
        assert stream.reconnects > 10


async def test_a_stream_without_frames_may_be_lost_as_often_as_it_is(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        if len(server.service.streams) > 12:
            restarted.set()
            async for response in scripts.faithful(stream):
                yield response
        yield await stream.start()
        await asyncio.sleep(0.02)
        await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "restarted")

    restarted = asyncio.Event()
    server = await serve(script)
    patient = ReconnectSettings(initial_s=0.001, max_s=0.002, give_up_after_s=float("inf"))
    async with AsyncClient(server.address, reconnect=patient) as client, client.track() as stream:
        async with asyncio.timeout(20):
            await restarted.wait()
        await stream.send(pictures(1)[0])
        assert (await anext(stream)).tracked


@pytest.mark.parametrize("seen_again", [False, True])
async def test_a_frame_that_kills_every_server_is_not_tried_for_ever(
    seen_again: bool, serve: Any, scripts: Any
) -> None:
    """Though frames before it, which have their results, are tracked again each time."""

    async def script(stream: Any) -> AsyncIterator[Any]:
        started = await stream.start()
        started.started.resume.resumed = stream.config.HasField("resume")
        yield started
        async for frame in stream.incoming():
            if frame.number == 2:
                await stream.context.abort(grpc.StatusCode.INTERNAL, "fell over")
            response = scripts.tracked(frame)
            if seen_again and frame.number == 0:
                response.resume_token = b"token"
            yield response

    server = await serve(script)
    patient = ReconnectSettings(initial_s=0.001, max_s=0.002, give_up_after_s=float("inf"))
    async with AsyncClient(server.address, reconnect=patient) as client, client.track(pictures(5)) as stream:
        with pytest.raises(posewire.ConnectionLost, match=r"fell over.*without tracking a frame"):
            await collect(stream)


async def test_what_the_only_server_refuses_is_not_asked_again(serve: Any) -> None:
    calls = 0

    async def script(stream: Any) -> AsyncIterator[Any]:
        nonlocal calls
        calls += 1
        if calls > 1:
            await stream.context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token was withdrawn")
        yield await stream.start()
        async for _ in stream.incoming():
            await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=QUICK) as client, client.track(pictures(5)) as stream:
        with pytest.raises(posewire.AccessDenied, match="withdrawn"):
            await collect(stream)
    assert calls == 2


async def test_a_silent_server_is_left_and_its_call_cancelled(serve: Any, scripts: Any) -> None:
    left = asyncio.Event()

    async def fall_silent(stream: Any) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            left.set()

    server = await serve(Mortal(scripts, 1, ending=fall_silent))
    client = AsyncClient(server.address, reconnect=QUICK)
    async with client, client.track(pictures(4)) as stream, asyncio.timeout(30):
        first = await anext(stream)
        shorten_timeout(stream, 0.3)
        results = [first, *await collect(stream)]
        await left.wait()  # while the stream is still open: its place at the server is free again
    assert [result.tracked for result in results] == [True] * 4


async def test_closing_in_mid_search_leaves_nothing_behind(serve: Any, scripts: Any) -> None:
    dead = asyncio.Event()

    async def script(stream: Any) -> AsyncIterator[Any]:
        if dead.is_set():
            await asyncio.Event().wait()
        yield await stream.start()
        async for frame in stream.incoming():
            yield scripts.tracked(frame)
            dead.set()
            await stream.context.abort(grpc.StatusCode.UNAVAILABLE, "killed")

    server = await serve(script)
    before = asyncio.all_tasks()
    async with AsyncClient(server.address) as client:
        async with client.track(pictures(5)) as stream:
            await anext(stream)
            await asyncio.sleep(0)
        with pytest.raises(posewire.PosewireError):
            await collect(stream)
    assert not {task for task in asyncio.all_tasks() - before if task.get_name().startswith("posewire")}


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"initial_s": 0}, "initial_s is 0"),
        ({"initial_s": "1"}, "initial_s is '1'; give a number"),
        ({"jitter": None}, "jitter is None; give a number"),
        ({"max_s": 0.01}, "below initial_s"),
        ({"jitter": 1.5}, "share in 0..1"),
        ({"give_up_after_s": -1}, "at least 0"),
        ({"attempt_timeout_s": float("inf")}, "finite"),
    ],
)
def test_reconnect_settings_are_checked(values: dict[str, Any], words: str) -> None:
    with pytest.raises(posewire.InvalidSettings, match=words):
        ReconnectSettings(**values)
