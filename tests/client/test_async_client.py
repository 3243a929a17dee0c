from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

import posewire
from posewire import AsyncClient, FrameStatus
from posewire.v1 import pose_pb2, settings_pb2, track_pb2


def pictures(count: int, size: tuple[int, int] = (64, 48)) -> list[Any]:
    return [np.full((size[1], size[0], 3), 7 * number % 250, np.uint8) for number in range(count)]


async def collect(stream: posewire.AsyncTrackStream) -> list[posewire.FrameResult]:
    return [result async for result in stream]


# -- single calls ------------------------------------------------------------------------------------------------------


async def test_server_info_is_told_in_the_words_of_the_sdk(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        info = await client.server_info()
    assert (info.version, info.device, info.has_detector) == ("9.9", "cpu (2 threads)", True)
    assert info.codecs == ("jpeg", "raw_rgb24")
    assert info.limits.max_people == 30
    assert info.tracker_defaults == posewire.TrackerSettings(queue_length=10, match_threshold=0.3)


async def test_boxes_of_a_single_picture_are_given_by_their_corners(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        estimate = await client.estimate_poses(pictures(1)[0], boxes=[[1, 2, 11, 22, 0.5], [0, 0, 5, 6, 1]])
    sent = server.service.estimates[0].boxes.boxes[0]
    assert (sent.x, sent.y, sent.width, sent.height, sent.score) == (1, 2, 10, 20, 0.5)
    assert [person.box.tolist() for person in estimate.people] == [[1, 2, 10, 20], [0, 0, 5, 6]]
    assert estimate.people[0].box_xyxy.tolist() == [1, 2, 11, 22]
    assert estimate.people[0].source == "caller"
    assert estimate.people[0].joints.shape == (3, 3)


async def test_no_boxes_and_an_empty_list_of_boxes_differ(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        await client.estimate_poses(pictures(1)[0])
        await client.estimate_poses(pictures(1)[0], boxes=[])
    assert [request.HasField("boxes") for request in server.service.estimates] == [False, True]


@pytest.mark.parametrize(
    ("codec", "start", "raw_size"),
    [
        ("jpeg", b"\xff\xd8\xff", (0, 0)),
        ("png", b"\x89PNG", (0, 0)),
        ("raw", bytes(3), (64, 48)),
    ],
)
async def test_pictures_travel_in_the_codec_asked_for(
    serve: Any, codec: Any, start: bytes, raw_size: tuple[int, int]
) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        await client.estimate_poses(pictures(1)[0], codec=codec)
    request = server.service.estimates[0]
    assert request.data.startswith(start)
    assert (request.raw_size.width, request.raw_size.height) == raw_size


@pytest.mark.parametrize("codec", ["jpeg", "png"])
async def test_colours_survive_the_journey(serve: Any, codec: Any) -> None:
    server = await serve()
    red = np.zeros((48, 64, 3), np.uint8)
    red[:] = (200, 30, 60)
    async with AsyncClient(server.address) as client:
        await client.estimate_poses(red, codec=codec)
    blue_green_red = cv2.imdecode(np.frombuffer(server.service.estimates[0].data, np.uint8), cv2.IMREAD_COLOR)
    assert blue_green_red[20, 20].tolist() == pytest.approx([60, 30, 200], abs=3)


async def test_encoded_pictures_travel_as_they_are(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        await client.estimate_poses(b"\x89PNG\r\n\x1a\nrest")
        with pytest.raises(posewire.InvalidSettings, match="neither JPEG nor PNG"):
            await client.estimate_poses(b"GIF89a")
    assert server.service.estimates[0].data == b"\x89PNG\r\n\x1a\nrest"
    assert server.service.estimates[0].codec == pose_pb2.CODEC_PNG


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"image": np.zeros((4, 4), np.uint8)}, "h, w, 3"),  # grey
        ({"image": np.zeros((4, 4, 3), np.float32)}, "float32"),  # not bytes
        ({"image": np.zeros((4, 4, 3), np.uint8), "boxes": [[5, 5, 1, 9]]}, "no extent"),  # corners the wrong way
        ({"image": np.zeros((4, 4, 3), np.uint8), "boxes": [[0, 0, np.nan, 9]]}, "finite"),
        ({"image": np.zeros((4, 4, 3), np.uint8), "boxes": [1, 2, 3, 4]}, "shape"),  # one box without its list
        ({"image": np.zeros((4, 4, 3), np.uint8), "boxes": [[0, 0, 1, 1, 7]]}, "score"),
        ({"image": np.zeros((4, 4, 3), np.uint8), "box_score_threshold": 2}, "0..1"),
        ({"image": np.zeros((4, 4, 3), np.uint8), "codec": "h264"}, "cannot be sent as h264"),
        ({"image": np.zeros((1, 70_000, 3), np.uint8)}, "70000x1"),  # more than JPEG can hold
    ],
)
async def test_unusable_arguments_are_found_before_anything_is_sent(
    serve: Any, arguments: dict[str, Any], words: str
) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        with pytest.raises(posewire.InvalidSettings, match=words):
            await client.estimate_poses(**arguments)
    assert server.service.estimates == []


# -- failures of calls -------------------------------------------------------------------------------------------------


async def test_without_a_server_the_error_names_the_address_and_says_what_to_try(unused_tcp_port: int) -> None:
    address = f"127.0.0.1:{unused_tcp_port}"
    async with AsyncClient(address) as client:
        with pytest.raises(posewire.ConnectionFailed, match=rf"{address}.*posewire serve") as caught:
            await client.server_info()
        with pytest.raises(posewire.ConnectionFailed, match=address):
            async with client.track():
                pass
    assert caught.value.code == "UNAVAILABLE"


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://localhost:1", "host:port"),
        ("", "host:port"),
        ("localhost:", "port"),
        ("localhost:99999", "65535"),
        (":5000", "port"),
    ],
)
def test_an_address_of_another_form_is_refused(address: str, words: str) -> None:
    with pytest.raises(posewire.InvalidSettings, match=words):
        AsyncClient(address)


@pytest.mark.parametrize(
    ("given", "full"),
    [
        ("gpu-host", "gpu-host:50051"),  # the port has a default
        ("gpu-host:7", "gpu-host:7"),
        ("[::1]", "[::1]:50051"),
        ("unix:/run/posewire", "unix:/run/posewire"),
    ],
)
def test_addresses_are_completed(given: str, full: str) -> None:
    assert AsyncClient(given).address == full


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (grpc.StatusCode.INVALID_ARGUMENT, posewire.InvalidRequest),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, posewire.LimitExceeded),
        (grpc.StatusCode.UNAUTHENTICATED, posewire.AccessDenied),
        (grpc.StatusCode.FAILED_PRECONDITION, posewire.ServerRefused),
        (grpc.StatusCode.UNIMPLEMENTED, posewire.ServerRefused),
        (grpc.StatusCode.INTERNAL, posewire.ServerFailed),
        (grpc.StatusCode.UNAVAILABLE, posewire.ConnectionFailed),
    ],
)
async def test_a_refused_stream_is_an_error_of_the_right_kind(
    serve: Any, code: grpc.StatusCode, kind: type[posewire.CallError]
) -> None:
    async def refuse(stream: Any) -> AsyncIterator[Any]:
        await stream.context.abort(code, "queue_length is 0; give 1..1000")
        yield

    server = await serve(refuse)
    async with AsyncClient(server.address) as client:
        with pytest.raises(kind, match=r"queue_length is 0; give 1\.\.1000") as caught:
            async with client.track(pictures(1)):
                pass
    assert type(caught.value) is kind
    assert caught.value.code == code.name


async def test_details_of_a_refusal_are_kept(serve: Any) -> None:
    async def refuse(stream: Any) -> AsyncIterator[Any]:
        status = status_pb2.Status(code=grpc.StatusCode.INVALID_ARGUMENT.value[0], message="invalid")
        violation = error_details_pb2.BadRequest.FieldViolation(field="config.codec", description="is 99; give 1..6")
        for detail in (
            error_details_pb2.ErrorInfo(reason="INVALID_REQUEST", domain="posewire"),
            error_details_pb2.BadRequest(field_violations=[violation]),
        ):
            packed = any_pb2.Any()
            packed.Pack(detail)
            status.details.append(packed)
        metadata = (("grpc-status-details-bin", status.SerializeToString()),)
        await stream.context.abort(grpc.StatusCode.INVALID_ARGUMENT, "invalid", metadata)
        yield

    server = await serve(refuse)
    async with AsyncClient(server.address) as client:
        with pytest.raises(posewire.InvalidRequest, match=r"config\.codec: is 99; give 1\.\.6") as caught:
            await client.track(pictures(1)).__aenter__()
    assert caught.value.reason == "INVALID_REQUEST"
    assert caught.value.violations == (posewire.errors.Violation("config.codec", "is 99; give 1..6"),)


async def test_a_server_that_never_starts_the_stream_is_given_up(serve: Any) -> None:
    async def silent(stream: Any) -> AsyncIterator[Any]:
        await asyncio.Event().wait()
        yield

    server = await serve(silent)
    async with AsyncClient(server.address, timeout_s=0.2) as client:
        with pytest.raises(posewire.TimedOut, match=r"0\.2 s"):
            await client.track(pictures(1)).__aenter__()


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
    assert results[0].image is frames[0].image


async def test_no_more_frames_are_under_way_than_allowed(serve: Any, scripts: Any) -> None:
    waiting: list[int] = []

    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        # Answers come only once nothing more arrives: the client has reached its limit.
        held: list[Any] = []
        incoming = stream.incoming()
        held += [await anext(incoming) for _ in range(3)]
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
    async with AsyncClient(server.address) as client, client.track(pictures(10), max_in_flight=3) as stream:
        results = await collect(stream)
    assert waiting == [False]
    assert len(results) == 10


async def test_a_slow_taker_of_results_slows_the_source_down(serve: Any) -> None:
    taken: list[int] = []

    def frames() -> Iterator[Any]:
        for number, picture in enumerate(pictures(30)):
            taken.append(number)
            yield picture

    server = await serve()
    async with AsyncClient(server.address) as client, client.track(frames(), max_in_flight=2) as stream:
        await anext(stream)
        # Nobody takes anything: two results wait, and of the source no more is read than ahead of the next one.
        await asyncio.sleep(0.2)
        assert len(server.service.streams[0].frames) == 3
        assert max(taken) <= 6
        assert len(await collect(stream)) == 29


async def test_the_program_sends_frames_of_its_own(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client, client.track() as stream:
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


async def test_sending_and_taking_overlap(serve: Any, scripts: Any) -> None:
    async def in_pairs(stream: Any) -> AsyncIterator[Any]:
        """Answers a frame only when the next one is there."""
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


# -- broken streams ----------------------------------------------------------------------------------------------------


async def test_a_stream_that_the_server_aborts_gives_its_results_and_then_the_error(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            if frame.number == 2:
                await stream.context.abort(grpc.StatusCode.INTERNAL, "the network fell over")
            yield scripts.tracked(frame)

    server = await serve(script)
    async with AsyncClient(server.address) as client, client.track(pictures(5)) as stream:
        for number in range(2):
            assert (await anext(stream)).frame == number
        with pytest.raises(posewire.StreamBroken, match="the network fell over") as caught:
            await anext(stream)
    assert 2 in caught.value.unanswered
    assert stream.summary is None


async def test_the_servers_words_are_not_lost_when_a_write_is_under_way(serve: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        incoming = stream.incoming()
        for _ in range(2):
            await anext(incoming)
        await stream.context.abort(grpc.StatusCode.FAILED_PRECONDITION, "send boxes")

    async def refused(address: str) -> posewire.ServerRefused:
        async with AsyncClient(address) as client, client.track(pictures(5)) as stream:
            with pytest.raises(posewire.ServerRefused) as caught:
                await collect(stream)
        return caught.value

    server = await serve(script)
    for _ in range(100):  # about one in thirty hits the moment
        assert "send boxes" in str(await refused(server.address))


async def test_a_refusal_in_mid_stream_stays_a_refusal(serve: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        await stream.context.abort(grpc.StatusCode.FAILED_PRECONDITION, "send boxes: there is no detector")

    server = await serve(script)
    async with AsyncClient(server.address) as client, client.track(pictures(5)) as stream:
        with pytest.raises(posewire.ServerRefused, match="send boxes"):
            await collect(stream)


async def test_a_cancelled_call_is_a_broken_stream_not_a_cancelled_program(serve: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        await stream.context.abort(grpc.StatusCode.CANCELLED, "")

    server = await serve(script)
    async with AsyncClient(server.address) as client, client.track(pictures(5)) as stream:
        with pytest.raises(posewire.StreamBroken):
            await collect(stream)


async def test_a_drained_stream_says_where_to_go_on(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        incoming = stream.incoming()
        first, second = await anext(incoming), await anext(incoming)
        yield scripts.tracked(first)
        yield track_pb2.TrackResponse(drain=track_pb2.Drain(), resume_token=b"token")
        rest = [second] + [frame async for frame in incoming]
        last = scripts.summary(1 + len(rest), 1, 0, len(rest))
        numbers = [frame.number for frame in rest]
        last.dropped.extend(scripts.dropped(*numbers, reason=track_pb2.DROP_REASON_DRAINING))
        yield last

    def endless() -> Iterator[Any]:
        while True:
            yield from pictures(10)

    server = await serve(script)
    results = []
    async with AsyncClient(server.address) as client, client.track(endless()) as stream:
        try:
            async for result in stream:
                results.append((result.frame, result.reason))  # noqa: PERF401 -- the error comes in between
        except posewire.StreamDrained as drained:
            resume = drained.resume
        assert results[0] == (0, "")
        assert {reason for _, reason in results[1:]} == {"draining"}
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
    async with AsyncClient(server.address) as client, client.track(pictures(200)) as stream:
        with pytest.raises(posewire.StreamDrained, match="ids start anew") as caught:
            await collect(stream)
        # A stream whose frames have all been sent ends in order.
        async with client.track() as whole:
            for picture in pictures(3):
                await whole.send(picture)
            await whole.finish()
            assert len(await collect(whole)) == 3
            assert whole.summary is not None
    assert caught.value.resume is None
    assert caught.value.unanswered == ()


async def test_a_silent_server_is_noticed(serve: Any, scripts: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        async for frame in stream.incoming():
            if frame.number == 1:
                await asyncio.Event().wait()
            yield scripts.tracked(frame)

    server = await serve(script)
    async with AsyncClient(server.address, timeout_s=0.3) as client, client.track(pictures(4)) as stream:
        assert (await anext(stream)).frame == 0
        with pytest.raises(posewire.StreamBroken, match=r"silent for 0\.3 s.*frame 1") as caught:
            await anext(stream)
    assert caught.value.unanswered == (1, 2, 3)


async def test_a_stream_without_frames_under_way_may_be_silent(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address, timeout_s=0.1) as client, client.track() as stream:
        await stream.send(pictures(1)[0])
        await anext(stream)
        silence = asyncio.ensure_future(anext(stream))
        done, _ = await asyncio.wait({silence}, timeout=0.4)
        assert not done
        await stream.finish()
        with pytest.raises(StopAsyncIteration):
            await silence


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        ("no summary", "without an account"),
        ("an answer too few", "without an answer"),
        ("an answer too many", "a second time"),
        ("a strange number", "never sent"),
        ("a wrong sum", "received 9 for 3"),
    ],
)
async def test_an_account_that_does_not_add_up_is_an_error(serve: Any, scripts: Any, ending: str, words: str) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        yield await stream.start()
        frames = [frame async for frame in stream.incoming()]
        for frame in frames[: 2 if ending == "an answer too few" else 3]:
            yield scripts.tracked(frame)
        if ending == "an answer too many":
            yield scripts.tracked(frames[0])
        if ending == "a strange number":
            yield scripts.failed(50)
        if ending != "no summary":
            yield scripts.summary(9 if ending == "a wrong sum" else 3, 3)

    server = await serve(script)
    async with AsyncClient(server.address) as client, client.track(pictures(3)) as stream:
        with pytest.raises(posewire.StreamBroken, match=words):
            await collect(stream)
        assert stream.summary is None


# -- leaving early -----------------------------------------------------------------------------------------------------


async def test_leaving_the_block_cancels_the_call_at_the_server(serve: Any) -> None:
    def endless() -> Iterator[Any]:
        while True:
            yield from pictures(10)

    server = await serve()
    async with AsyncClient(server.address) as client:
        async with client.track(endless()) as stream:
            async for result in stream:
                if result.frame == 5:
                    break
        async with asyncio.timeout(5):
            await server.service.ended.wait()
        with pytest.raises(posewire.MisuseError, match="closed before its end"):
            await collect(stream)
        # The client is as good as new.
        async with client.track(pictures(2)) as stream:
            assert len(await collect(stream)) == 2


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


async def test_a_stream_that_is_not_open_says_how_to_open_it(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        stream = client.track(pictures(1))
        with pytest.raises(posewire.MisuseError, match="async with"):
            await anext(stream)
        async with stream:
            with pytest.raises(posewire.MisuseError, match="its source"):
                await stream.send(pictures(1)[0])
            await collect(stream)
        with pytest.raises(posewire.MisuseError, match="opened before"):
            await stream.__aenter__()


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
