from __future__ import annotations

import asyncio
import logging
import os
import traceback
from collections.abc import AsyncIterator, Iterator
from itertools import cycle
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import pytest

import posewire
from posewire import AsyncClient
from posewire._streaming.answers import Answers
from posewire._streaming.call import TrackCall
from posewire.v1 import pose_pb2, track_pb2
from tests.client.conftest import collect, deadline_s, pictures, shorten_timeout

# -- broken streams ----------------------------------------------------------------------------------------------------


async def test_a_stream_that_the_server_aborts_gives_its_results_and_then_the_error(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            if frame.number == 2:
                await stream.context.abort(grpc.StatusCode.INTERNAL, "the network fell over")
            yield scripts.tracked(frame)

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=None) as client, client.track(cycle(pictures(5))) as stream:
        for number in range(2):
            assert (await anext(stream)).frame == number
        with pytest.raises(posewire.StreamBroken, match="the network fell over") as caught:
            await anext(stream)
        assert stream._pump is not None
        async with asyncio.timeout(10):
            await stream._pump  # the source, which has no end, is read no further
    assert 2 in caught.value.unanswered
    assert stream.summary is None


async def test_an_error_that_is_raised_again_does_not_grow(serve: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        await stream.context.abort(grpc.StatusCode.INVALID_ARGUMENT, "refused")

    server = await serve(script)
    lengths: list[int] = []
    async with AsyncClient(server.address) as client, client.track() as stream:
        for attempt in (lambda: anext(stream), lambda: stream.send(pictures(1)[0])) * 3:
            with pytest.raises(posewire.InvalidRequest, match="refused") as caught:
                await attempt()
            lengths.append(len(traceback.extract_tb(caught.value.__traceback__)))
    assert lengths == lengths[:2] * 3


async def test_the_servers_words_are_not_lost_when_a_write_is_under_way(serve: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        incoming = stream.incoming()
        for _ in range(2):
            await anext(incoming)
        await stream.context.abort(grpc.StatusCode.FAILED_PRECONDITION, "send boxes")

    async def refused(address: str) -> posewire.ServerRefused:
        async with AsyncClient(address, reconnect=None) as client, client.track(pictures(5)) as stream:
            with pytest.raises(posewire.ServerRefused) as caught:
                await collect(stream)
        return caught.value

    server = await serve(script)
    for _ in range(100):  # about one in thirty hits the moment
        assert "send boxes" in str(await refused(server.address))


async def test_a_withdrawn_token_is_replaced_when_a_write_is_under_way(
    serve: Any, scripts: Any, tmp_path: Path
) -> None:
    file = tmp_path / "token"

    async def script(stream: Any) -> AsyncIterator[Any]:
        if ("authorization", "Bearer new") in stream.context.invocation_metadata():
            async for response in scripts.faithful(stream):
                yield response
            return
        yield await stream.start()
        incoming = stream.incoming()
        for _ in range(2):
            await anext(incoming)
        file.write_text("new")
        os.utime(file, (0, 0))  # it was written long ago, and is complete
        await stream.context.abort(grpc.StatusCode.UNAUTHENTICATED, "the token was withdrawn")

    server = await serve(script)
    for _ in range(100):  # about one in thirty hits the moment
        file.write_text("old")
        async with AsyncClient(server.address, token=file) as client, client.track(pictures(5)) as stream:
            assert [result.frame for result in await collect(stream)] == [*range(5)]


async def test_a_refusal_in_mid_stream_stays_a_refusal(serve: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        await stream.context.abort(grpc.StatusCode.FAILED_PRECONDITION, "send boxes: there is no detector")

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=None) as client, client.track(pictures(5)) as stream:
        with pytest.raises(posewire.ServerRefused, match="send boxes"):
            await collect(stream)


@pytest.mark.parametrize(
    ("code", "details", "raised"),
    [
        (grpc.StatusCode.CANCELLED, "", posewire.ConnectionFailed),  # it closed at that moment
        (grpc.StatusCode.INTERNAL, "Received RST_STREAM with error code 2", posewire.ConnectionFailed),  # by a proxy
        (grpc.StatusCode.INTERNAL, "out of memory", posewire.ServerFailed),
    ],
)
async def test_a_call_that_is_cut_off_means_that_no_server_is_there(
    serve: Any, code: grpc.StatusCode, details: str, raised: type[Exception]
) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        await stream.context.abort(code, details)
        yield

    server = await serve(script)
    async with AsyncClient(server.address) as client:
        with pytest.raises(raised):
            async with client.track(pictures(1)):
                pass


async def test_a_cancelled_call_is_a_broken_stream_not_a_cancelled_program(serve: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        await stream.context.abort(grpc.StatusCode.CANCELLED, "")

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=None) as client, client.track(pictures(5)) as stream:
        with pytest.raises(posewire.StreamBroken):
            await collect(stream)


async def test_a_drained_stream_says_where_to_go_on(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        incoming = stream.incoming()
        first, second = await anext(incoming), await anext(incoming)
        yield scripts.tracked(first)
        yield track_pb2.TrackResponse(drain=track_pb2.Drain(), resume_token=b"token")
        yield dropped(second)
        async for frame in incoming:
            yield dropped(frame)
        yield scripts.summary(len(stream.frames), 1, 0, len(stream.frames) - 1)

    def dropped(frame: track_pb2.Frame) -> track_pb2.TrackResponse:
        return track_pb2.TrackResponse(dropped=scripts.dropped(frame.number, reason=track_pb2.DROP_REASON_DRAINING))

    def endless() -> Iterator[Any]:
        while True:
            yield from pictures(10)

    server = await serve(script)
    results = []
    client = AsyncClient(server.address, reconnect=None, timeout_s=20)
    async with client, client.track(endless()) as stream:
        try:
            async for result in stream:
                results.append((result.frame, result.reason))  # noqa: PERF401 -- the error comes in between
        except posewire.StreamDrained as drained:
            resume, words = drained.resume, str(drained)
        assert results[0] == (0, "")
        assert {reason for _, reason in results[1:]} == {"draining"}
        assert "open another stream, with resume=" in words
        assert resume is not None
        assert resume.token == b"token"
        assert resume.last_frame == server.service.streams[0].frames[0].data

        server.service.script = scripts.faithful
        async with client.track(pictures(1), resume=resume) as following:
            await collect(following)
    config = server.service.streams[1].config
    assert config.resume.token == b"token"
    assert config.resume.last_frame_codec == pose_pb2.CODEC_JPEG


async def test_a_drain_is_told_even_if_no_frame_was_lost(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            yield scripts.tracked(frame)
            if frame.number == 2:
                yield track_pb2.TrackResponse(drain=track_pb2.Drain())
        yield scripts.summary(len(stream.frames), len(stream.frames))

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=None) as client, client.track(pictures(200)) as stream:
        with pytest.raises(
            posewire.StreamDrained, match=r"has drained the stream .*: it is about to stop, .*; ids start anew"
        ) as caught:
            await collect(stream)
        # A stream whose frames have all been sent ends normally.
        async with client.track() as whole:
            for picture in pictures(3):
                await whole.send(picture)
            await whole.finish()
            assert len(await collect(whole)) == 3
            assert whole.summary is not None
    assert caught.value.resume is None
    assert caught.value.unanswered == ()


async def test_a_drain_is_told_to_a_program_that_has_not_finished(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        yield scripts.tracked(await anext(stream.incoming()))
        yield track_pb2.TrackResponse(drain=track_pb2.Drain())
        yield scripts.summary(1, 1)

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=None) as client, client.track() as stream:
        await stream.send(pictures(1)[0])
        assert (await anext(stream)).tracked
        with pytest.raises(posewire.StreamDrained):
            await anext(stream)
        with pytest.raises(posewire.StreamDrained):
            await stream.send(pictures(1)[0])
    assert stream.summary is None


async def test_a_drain_is_told_if_frames_were_given_up_after_the_last_was_sent(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        first, *others = [frame async for frame in stream.incoming()]
        yield scripts.tracked(first)
        yield track_pb2.TrackResponse(drain=track_pb2.Drain())
        given_up = scripts.dropped(*(each.number for each in others), reason=track_pb2.DROP_REASON_DRAINING)
        yield track_pb2.TrackResponse(dropped=given_up)
        yield scripts.summary(len(given_up) + 1, 1, 0, len(given_up))

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=None) as client, client.track(pictures(3)) as stream:
        results = [await anext(stream) for _ in range(3)]
        assert [result.reason for result in results] == ["", "draining", "draining"]
        with pytest.raises(posewire.StreamDrained):
            await anext(stream)


async def test_a_silent_server_is_noticed(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            if frame.number == 1:
                await asyncio.Event().wait()
            yield scripts.tracked(frame)

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=None) as client, client.track(pictures(4)) as stream:
        assert (await anext(stream)).frame == 0
        shorten_timeout(stream, 0.3)
        with pytest.raises(posewire.StreamBroken, match=r"silent for 0\.3 s.*frame 1") as caught:
            await anext(stream)
    assert caught.value.unanswered == (1, 2, 3)


async def test_every_answer_gives_the_server_time_for_the_next(serve: Any, scripts: Any) -> None:
    turns = asyncio.Semaphore(0)

    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        incoming = stream.incoming()
        for _ in range(2):
            await turns.acquire()
            yield scripts.tracked(await anext(incoming))
        await turns.acquire()
        yield track_pb2.TrackResponse(drain=track_pb2.Drain())
        await asyncio.Event().wait()

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=None) as client, client.track() as stream, asyncio.timeout(30):
        for _ in range(2):
            await stream.send(pictures(1)[0])
        first_s = deadline_s(stream)
        turns.release()
        await anext(stream)
        second_s = deadline_s(stream)
        assert first_s is not None
        assert second_s is not None
        assert second_s > first_s
        turns.release()
        await anext(stream)
        assert deadline_s(stream) is None
        turns.release()
        while deadline_s(stream) is None:  # noqa: ASYNC110  a server that drains owes the end of the stream
            await asyncio.sleep(0.001)


async def test_a_stream_without_frames_under_way_may_be_silent(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address, reconnect=None) as client, client.track() as stream:
        await stream.send(pictures(1)[0])
        await anext(stream)
        shorten_timeout(stream, 0.1)
        silence = asyncio.ensure_future(anext(stream))
        done, _ = await asyncio.wait({silence}, timeout=0.4)
        assert not done
        shorten_timeout(stream, 60.0)
        await stream.finish()
        with pytest.raises(StopAsyncIteration):
            await silence


async def test_an_answer_that_makes_no_sense_is_an_error(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            answer = scripts.tracked(frame)
            answer.tracked.people[0].joints.append(1.0)  # no longer triples
            yield answer

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=None) as client, client.track(pictures(3)) as stream:
        with pytest.raises(posewire.StreamBroken, match="is invalid"):
            await collect(stream)


async def test_a_fault_of_the_client_itself_is_not_hidden(serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AttributeError("a slip of ours")

    monkeypatch.setattr(Answers, "enter", fail)
    server = await serve()
    async with AsyncClient(server.address) as client, client.track(pictures(3)) as stream:
        with pytest.raises(AttributeError, match="a slip of ours"):
            await collect(stream)


@pytest.mark.parametrize("answered", [0, 1])
async def test_silence_is_noticed_from_the_first_frame_without_an_answer_on(
    serve: Any, scripts: Any, answered: int
) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            if frame.number < answered:
                yield scripts.tracked(frame)

    async def send_on(stream: posewire.AsyncTrackStream) -> None:
        while True:  # what is sent meanwhile does not give the server more time
            await stream.send(b"already encoded, so that nothing delays it")
            await asyncio.sleep(0.02)

    server = await serve(script)
    client = AsyncClient(server.address, reconnect=None)
    async with asyncio.timeout(10), client, client.track(max_in_flight=1000) as stream:
        for _ in range(answered):
            await stream.send(pictures(1)[0])
            await anext(stream)
        shorten_timeout(stream, 0.2)
        with pytest.raises(posewire.StreamBroken, match="silent"):
            await send_on(stream)


async def test_silence_is_noticed_where_only_the_account_is_owed(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            yield scripts.tracked(frame)
        await asyncio.Event().wait()

    server = await serve(script)
    client = AsyncClient(server.address, reconnect=None)
    async with asyncio.timeout(10), client, client.track() as stream:
        for number in range(2):
            await stream.send(pictures(1)[0])
            assert (await anext(stream)).frame == number
        shorten_timeout(stream, 0.3)
        await stream.finish()
        with pytest.raises(posewire.StreamBroken, match="owes the answer to the end of the stream"):
            await anext(stream)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("no summary", "without an account"),
        ("an answer too few", "without an answer"),
        ("an answer too many", "a second time"),
        ("a strange number", "never sent"),
        ("a wrong sum", "received 9 for 3"),
        ("a second beginning", "began the stream a second time"),
    ],
)
async def test_an_account_that_does_not_add_up_is_an_error(serve: Any, scripts: Any, ending: str, words: str) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        started = await stream.start()
        yield started
        frames = [frame async for frame in stream.incoming()]
        for frame in frames[: 2 if ending == "an answer too few" else 3]:
            yield scripts.tracked(frame)
        if ending == "an answer too many":
            yield scripts.tracked(frames[0])
        if ending == "a strange number":
            yield scripts.failed(50)
        if ending == "a second beginning":
            yield started
        if ending != "no summary":
            yield scripts.summary(9 if ending == "a wrong sum" else 3, 3)

    server = await serve(script)
    async with AsyncClient(server.address, reconnect=None) as client, client.track(pictures(3)) as stream:
        with pytest.raises(posewire.StreamBroken, match=words):
            await collect(stream)
        assert stream.summary is None


async def test_the_end_of_frames_that_cannot_be_told_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail() -> None:
        raise RuntimeError("the call is over")

    call = TrackCall(SimpleNamespace(done_writing=fail), SimpleNamespace(address="host:1"), None, None)  # type: ignore[arg-type]
    with caplog.at_level(logging.DEBUG, "posewire"):
        await call.half_close()
    assert "the end of the frames could not be sent" in caplog.text
    assert "the call is over" in caplog.text
