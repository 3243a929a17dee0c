"""Requests to a real server that do not arrive, arrive in part, or are too large."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib import metadata
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from posewire import __version__
from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2
from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceStub
from posewire_server.admission import awaited_requests, call_rates
from posewire_server.config import LimitsConfig
from posewire_server.server import PoseServer
from posewire_server.wire.message_size import MOST_TOKEN_BYTES
from tests.integration.raw_http2 import raw_call
from tests.integration.service_calls import ALL, TrackClient, server_config
from tests.integration.test_service_errors import details
from tests.server.stand_ins import jpeg, networks, picture

_SERVICE = "/posewire.v1.PoseTrackingService/"
_PICTURES = f"{_SERVICE}EstimatePoses"
_REFLECTION = "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"
_QUESTIONS = ["/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch", f"{_SERVICE}ListStreams", _REFLECTION]
_PICTURE = pose_tracking_service_pb2.EstimatePosesRequest(codec=pose_pb2.CODEC_JPEG, data=jpeg(picture()))
_MIB = 2**20


@asynccontextmanager
async def _called(**settings: Any) -> AsyncIterator[tuple[PoseServer, grpc.aio.Channel]]:
    server = await PoseServer.start(server_config(**settings), networks())
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
    try:
        async with grpc.aio.insecure_channel(server.address, options=options) as channel, asyncio.timeout(60):
            yield server, channel
    finally:
        await server.stop()


async def _failure(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call.read()
    return caught.value


async def _until_in_work(server: PoseServer, pictures: int) -> None:
    while server.service.places.pictures != pictures:  # noqa: ASYNC110  nobody tells
        await asyncio.sleep(0.01)


async def test_asking_for_the_server_reads_no_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """They would hold up the event loop, and with it all streams."""
    async with _called() as (_, channel):
        monkeypatch.delattr(metadata, "version")
        info = await PoseTrackingServiceStub(channel).GetServerInfo(pose_tracking_service_pb2.GetServerInfoRequest())
        assert info.version == __version__


# -- pictures ----------------------------------------------------------------------------------------------------------


async def test_a_picture_is_read_once_there_is_a_place_for_it() -> None:
    async with _called(limits=LimitsConfig(max_pictures=1)) as (server, channel):
        pending = channel.stream_stream(_PICTURES)()
        await _until_in_work(server, 1)
        # Without a place, a request is not even parsed: this one is not a message.
        refused = await _failure(channel.stream_stream(_PICTURES)(iter([b"\xff\xff\xff"])))
        assert refused.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "limits.max_pictures" in str(refused.details())
        await pending.write(_PICTURE.SerializeToString())
        found = pose_tracking_service_pb2.EstimatePosesResponse.FromString(await pending.read())
        assert len(found.people) == 2
        await _until_in_work(server, 0)
        assert len((await PoseTrackingServiceStub(channel).EstimatePoses(_PICTURE)).people) == 2


async def test_a_picture_without_a_place_is_refused_late_and_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(call_rates, "_WITHOUT_PLACE_S", 0.0)
    for name, value in {"_BURST_S": 0.0, "_MOST_WAIT_S": 0.1}.items():
        monkeypatch.setattr(call_rates, name, value)
    limits = LimitsConfig(max_streams=1, max_pictures=1, max_queries_per_s=0.1)
    async with _called(limits=limits) as (server, channel):
        pending = channel.stream_stream(_PICTURES)()
        await _until_in_work(server, 1)
        for _ in range(5):  # more than may fail at once
            assert "limits.max_pictures" in str((await _failure(channel.stream_stream(_PICTURES)())).details())
        (line,) = (vars(record)["posewire_facts"] for record in caplog.records)
        assert "limits.max_pictures" in line["error"]
        assert line["method"] == _PICTURES
        monkeypatch.setattr(call_rates, "_WITHOUT_PLACE_S", 600.0)
        late = asyncio.create_task(_failure(channel.stream_stream(_PICTURES)()))
        await PoseTrackingServiceStub(channel).GetServerInfo(pose_tracking_service_pb2.GetServerInfoRequest())
        stopping = asyncio.create_task(server.stop())
        assert details(await late)[0] == "DRAINING"
        pending.cancel()
        await stopping


async def test_a_picture_that_does_not_come_in_time_gives_its_place_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited_requests, "_PICTURE_TIMEOUT_S", 0.05)
    async with _called() as (server, channel):
        error = await _failure(channel.stream_stream(_PICTURES)())
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert details(error)[0] == "OUT_OF_ORDER"
        assert "no picture came within 0.05 s" in str(error.details())
        await _until_in_work(server, 0)
        count = server.metrics.registry.get_sample_value("posewire_calls_refused_total", {"reason": "out-of-order"})
        assert count == 1


async def test_whoever_is_about_to_send_a_picture_is_told_that_the_server_stops() -> None:
    async with _called() as (server, channel):
        pending = channel.stream_stream(_PICTURES)()
        await _until_in_work(server, 1)
        stopping = asyncio.create_task(server.stop())
        error = await _failure(pending)
        await stopping
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert details(error)[0] == "DRAINING"


async def test_half_a_picture_holds_a_place_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited_requests, "_PICTURE_TIMEOUT_S", 0.5)
    async with _called(limits=LimitsConfig(max_pictures=1)) as (server, channel):
        async with raw_call(server.port, _PICTURES, bytes(1000), announced=30 * _MIB):
            await _until_in_work(server, 1)
            await _until_in_work(server, 0)
        assert len((await PoseTrackingServiceStub(channel).EstimatePoses(_PICTURE)).people) == 2


# -- other single requests ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", _QUESTIONS)
async def test_of_too_many_calls_without_a_request_the_oldest_is_given_up(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(awaited_requests, "_MOST_QUESTIONS", 2)
    async with _called() as (_, channel):
        calls = [channel.stream_stream(method)() for _ in range(3)]
        failures = [asyncio.ensure_future(_failure(call)) for call in calls]
        (first,), _ = await asyncio.wait(failures, return_when=asyncio.FIRST_COMPLETED)
        assert (await first).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details(await first)[0] == "LIMIT_REACHED"
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        for call in calls:
            call.cancel()
        await asyncio.wait(failures)


@pytest.mark.parametrize("method", _QUESTIONS)
async def test_a_request_that_does_not_come_ends_its_call(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_QUESTION_TIMEOUT_S", "_CONVERSATION_TIMEOUT_S"):
        monkeypatch.setattr(awaited_requests, name, 0.05)
    async with _called() as (_, channel):
        error = await _failure(channel.stream_stream(method)())
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details(error)[0] == "OUT_OF_ORDER"


@pytest.mark.parametrize("method", [_PICTURES, *_QUESTIONS[:3]])
async def test_a_call_that_ends_without_a_request(method: str) -> None:
    async with _called() as (_, channel):
        error = await _failure(channel.stream_stream(method)(iter([])))
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "ended before its request" in str(error.details())


@pytest.mark.parametrize("method", _QUESTIONS)
async def test_a_request_that_is_no_message_is_the_callers_fault(method: str, caplog: pytest.LogCaptureFixture) -> None:
    async with _called() as (_, channel):
        error = await _failure(channel.stream_stream(method)(iter([b"\xff\xff\xff not protobuf"])))
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "ERROR" not in caplog.text


async def test_a_watch_lasts_longer_than_its_request_may_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(awaited_requests, "_MOST_QUESTIONS", 1)
    async with _called() as (server, channel):
        stub = health_pb2_grpc.HealthStub(channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest())
        await watch.read()
        await stub.Check(health_pb2.HealthCheckRequest())
        server._health.enter_graceful_shutdown()
        assert (await watch.read()).status == health_pb2.HealthCheckResponse.NOT_SERVING


# -- how often ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        (_PICTURES, b"\xff\xff\xff"),  # not a message
        (f"{_SERVICE}Track", b""),  # not a configuration
        (f"{_SERVICE}GetServerInfo", b""),
        (_REFLECTION, b"\x3a\x00"),  # lists the services
        ("/grpc.health.v1.Health/Check", b""),
        (f"{_SERVICE}NoSuchCall", b""),
    ],
)
async def test_who_asks_or_fails_too_often_is_held_back(
    method: str, request_: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"_BURST_S": 0.0, "_MOST_WAIT_S": 0.1, "_PROBES_AT_ONCE": 1}.items():
        monkeypatch.setattr(call_rates, name, value)
    async with _called(limits=LimitsConfig(max_streams=1, max_pictures=1, max_queries_per_s=0.1)) as (_, channel):
        for _ in range(5):  # more than a caller's burst; they succeed
            assert len((await PoseTrackingServiceStub(channel).EstimatePoses(_PICTURE)).people) == 2
        outcomes = []
        for _ in range(5):
            call = channel.stream_stream(method)(iter([request_]))
            try:
                await call.read()
                outcomes.append("")
            except grpc.aio.AioRpcError as error:
                outcomes.append(str(error.details()))
            call.cancel()
        assert "max_queries_per_s" not in outcomes[0]
        assert "limits.max_queries_per_s" in outcomes[-1]


# -- how large ---------------------------------------------------------------------------------------------------------


async def test_a_message_has_room_for_a_frame_and_a_token_and_for_one_that_is_twice_too_large() -> None:
    async with _called(limits=LimitsConfig(max_frame_bytes=4 * _MIB)) as (_, channel):
        stub = PoseTrackingServiceStub(channel)
        resume = settings_pb2.ResumeRequest(token=bytes(MOST_TOKEN_BYTES), last_frame=bytes(4 * _MIB))
        client = TrackClient(stub)
        started = (await client.open(drop_policy=ALL, resume=resume)).started
        assert started is not None
        assert "not signed with this server's key" in started.resume.refusal
        await client.send(0, bytes(8 * _MIB))
        await client.send(1, jpeg(picture()))
        answers = await client.finish()
        assert answers.failed[0].reason == track_pb2.FAILURE_REASON_TOO_LARGE
        assert answers.tracked.keys() == {1}
        too_large = TrackClient(stub)
        await too_large.open(drop_policy=ALL)
        await too_large.send(0, bytes(11 * _MIB))
        assert (await too_large.failure()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_a_request_of_millions_of_boxes_is_not_taken_apart() -> None:
    boxes = pose_tracking_service_pb2.EstimatePosesRequest(boxes=pose_pb2.BoxList(boxes=[pose_pb2.Box()] * 200_000))
    frame = track_pb2.TrackRequest(frame=track_pb2.Frame(boxes=boxes.boxes))
    async with _called() as (_, channel):
        stub = PoseTrackingServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.EstimatePoses(boxes)
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.call.write(frame)
        for error in (caught.value, await client.failure()):
            assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
            assert "more than 65536 bytes" in str(error.details())
            assert details(error)[0] == "INVALID_REQUEST"


async def test_calls_of_no_known_name_are_refused_like_others(caplog: pytest.LogCaptureFixture) -> None:
    async with _called() as (server, channel):
        for method in (f"{_SERVICE}Nope", "/x.Y/Z"):
            error = await _failure(channel.stream_stream(method)(iter([b""])))
            assert error.code() is grpc.StatusCode.UNIMPLEMENTED
            assert details(error)[0] == "UNKNOWN_CALL"
    (line,) = (vars(record)["posewire_facts"] for record in caplog.records)
    assert line["method"] == f"{_SERVICE}Nope"
    count = server.metrics.registry.get_sample_value("posewire_calls_refused_total", {"reason": "unknown-call"})
    assert count == 2


async def test_compressed_messages_are_refused() -> None:
    options = {"compression": grpc.Compression.Gzip}
    async with _called() as (_, channel):
        stub = PoseTrackingServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.EstimatePoses(_PICTURE, **options)
        assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert len((await stub.EstimatePoses(_PICTURE)).people) == 2
