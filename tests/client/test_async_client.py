from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from functools import partial
from typing import Any

import cv2
import grpc
import numpy as np
import pytest
from google.protobuf import any_pb2
from google.rpc import error_details_pb2, status_pb2

import posewire
from posewire import AsyncClient
from posewire.v1 import pose_pb2
from tests.client.conftest import Packets, pictures

# -- single calls ------------------------------------------------------------------------------------------------------


async def test_server_info_is_told_in_the_words_of_the_sdk(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        info = await client.server_info()
    assert (info.version, info.device, info.has_detector) == ("9.9", "cpu (2 threads)", True)
    assert info.codecs == ("jpeg", "raw", "codec-7")
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
        ({"image": np.zeros((4, 4, 3), np.uint8), "box_score_threshold": 2}, "box_score_threshold is 2; it"),
        ({"image": np.zeros((4, 4, 3), np.uint8), "box_score_threshold": "0.5"}, "box_score_threshold is '0.5'"),
        ({"image": b"\xff\xd8\xff", "joint_set": 17}, "joint_set is 17; give a text"),
        ({"image": np.zeros((4, 4, 3), np.uint8), "codec": "h264"}, "cannot be sent as h264"),
        ({"image": np.zeros((1, 70_000, 3), np.uint8)}, "70000x1 .* at most 65500 pixels"),  # for JPEG
        ({"image": np.zeros((1_000_001, 1, 3), np.uint8), "codec": "png"}, "at most 1000000 pixels"),
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


async def test_arguments_for_the_source_need_a_source() -> None:
    async with AsyncClient("localhost:1") as client:
        with pytest.raises(posewire.InvalidSettings, match=r"max_frames limits a source.*finish\(\)"):
            client.track(max_frames=3)
        with pytest.raises(posewire.InvalidSettings, match=r"reopen_for_s is for a live source, and .* has none"):
            client.track(reopen_for_s=3)
        with pytest.raises(posewire.InvalidSettings, match=r"source_options are for a source, and .* has none"):
            client.track(source_options={"framerate": "5"})


@pytest.mark.parametrize("source", [Packets("K"), None], ids=["of a source", "of the program"])
async def test_images_of_packets_cannot_be_kept(source: Packets | None) -> None:
    async with AsyncClient("localhost:1") as client:
        with pytest.raises(posewire.InvalidSettings, match="no images can be kept; use codec='jpeg'"):
            await client.track(source, codec="h264", keep_images=True).__aenter__()


async def test_a_token_alone_is_no_resume_point() -> None:
    async with AsyncClient("localhost:1") as client:
        with pytest.raises(posewire.InvalidSettings, match="resume is a bytes; give a ResumePoint"):
            client.track(pictures(1), resume=b"token")  # type: ignore[arg-type]  # the mistake under test


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"reconnect": False}, "reconnect is a bool; give ReconnectSettings, or None"),  # found at the first loss else
        ({"reconnect": True}, "reconnect is a bool"),
        ({"tls": True}, "tls is a bool; give TlsSettings"),
    ],
)
def test_a_switch_is_no_setting(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(posewire.InvalidSettings, match=words):
        AsyncClient(**arguments)


async def test_what_is_told_of_a_reconnect_is_a_plain_function() -> None:
    async def announce(event: posewire.Reconnected) -> None:
        raise AssertionError(event)

    async with AsyncClient("localhost:1") as client:
        for callback in (announce, partial(announce), "print"):
            with pytest.raises(posewire.InvalidSettings, match="called without being awaited"):
                client.track(pictures(1), on_reconnect=callback)  # type: ignore[arg-type]  # the mistake under test


async def test_a_client_belongs_to_one_event_loop(serve: Any) -> None:
    server = await serve()
    async with AsyncClient(server.address) as client:
        await client.server_info()
        for use in (client.server_info, client.track(pictures(1)).__aenter__, client.__aenter__):
            with pytest.raises(posewire.MisuseError, match="another event loop"):
                await asyncio.to_thread(asyncio.run, use())
        await client.server_info()


# -- failures of calls -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda client: client.server_info(),
        lambda client: client.estimate_poses(pictures(1)[0]),
    ],
)
async def test_closing_the_client_ends_the_calls_of_other_tasks_but_cancels_no_task(
    serve: Any, call: Callable[[AsyncClient], Coroutine[Any, Any, Any]]
) -> None:
    server = await serve()
    server.service.silent = True
    client = AsyncClient(server.address)
    calling = asyncio.create_task(call(client))
    await server.service.asked.wait()
    await client.aclose()
    with pytest.raises(posewire.MisuseError, match="closed before the answer came"):
        await calling


async def test_a_cancelled_task_is_cancelled_although_the_client_closes(serve: Any) -> None:
    server = await serve()
    server.service.silent = True
    client = AsyncClient(server.address)
    calling = asyncio.create_task(client.server_info())
    await server.service.asked.wait()
    calling.cancel()
    await client.aclose()
    with pytest.raises(asyncio.CancelledError):
        await calling


async def test_closing_the_client_ends_a_picture_that_waits_to_be_encoded(
    serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    begun, may_end = threading.Event(), threading.Event()

    def encode_late(*_: Any) -> bytes:
        begun.set()
        may_end.wait()
        return b""

    monkeypatch.setattr("posewire._async_client.encode", encode_late)
    client = AsyncClient(server.address)
    client._workers._most = 1
    first, second = (asyncio.create_task(client.estimate_poses(pictures(1)[0])) for _ in range(2))
    await asyncio.to_thread(begun.wait)
    await client.aclose()
    with pytest.raises(posewire.MisuseError, match="client was closed"):
        await second
    may_end.set()
    with pytest.raises(posewire.MisuseError, match="client is closed"):
        await first
    assert server.service.estimates == []


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
async def test_an_unreachable_server_behind_a_proxy_names_the_setting(
    variable: str, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    for each in ("grpc_proxy", "https_proxy", "http_proxy", "no_grpc_proxy", "no_proxy"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, f"http://127.0.0.1:{unused_tcp_port}")
    async with AsyncClient("192.0.2.1:50051") as client:
        with pytest.raises(posewire.ConnectionFailed, match=f"; {variable} names a proxy.* unless no_proxy lists"):
            await client.server_info()
    async with AsyncClient(f"127.0.0.1:{unused_tcp_port}") as client:  # on this machine no proxy is used
        with pytest.raises(posewire.ConnectionFailed, match=r"whether the server uses TLS$"):
            await client.server_info()


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
        ("localhost:²", "65535"),  # a digit, but no number
        ("localhost:٥٠", "65535"),  # a number, but not to gRPC
        ("::1:50051", r"\[::1\]:50051"),  # no address of IPv6, whose parts have four digits at most
        ("a:b:1", "several colons"),
        ("[::1", "several colons"),
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
        ("::1", "[::1]:50051"),
        ("2001:db8::7", "[2001:db8::7]:50051"),
        ("fe80::1%eth0", "[fe80::1%eth0]:50051"),
        ("unix:/run/posewire", "unix:/run/posewire"),
        ("unix:///run/posewire", "unix:///run/posewire"),
        ("dns:///gpu-host:7", "dns:///gpu-host:7"),  # gRPC's own form of a name with several addresses
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


async def test_a_response_that_makes_no_sense_is_a_fault_of_the_server(serve: Any) -> None:
    async def script(stream: Any) -> AsyncIterator[Any]:
        response = await stream.start()
        response.started.joint_set.edges.add(to=99)
        yield response

    server = await serve(script)
    server.service.edges = [pose_pb2.JointSet.Edge(to=99)]
    async with AsyncClient(server.address) as client:
        with pytest.raises(posewire.StreamBroken, match=r"first response of the server at .*edge \(0, 99\)"):
            async with client.track(pictures(1)):
                pass
        for call in (client.server_info(), client.estimate_poses(pictures(1)[0])):
            with pytest.raises(posewire.ServerFailed, match=r"response is invalid: .*edge \(0, 99\)"):
                await call


async def test_a_server_without_the_call_is_taken_for_another_one_or_an_older_one() -> None:
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with AsyncClient(f"127.0.0.1:{port}") as client:
            with pytest.raises(posewire.ServerRefused, match=r"check the address: .* an older version"):
                await client.server_info()
    finally:
        await server.stop(None)


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
    quarter: Any = np.float32(0.25)  # numbers of numpy are numbers
    async with AsyncClient(server.address, timeout_s=quarter) as client:
        with pytest.raises(posewire.TimedOut, match=r"0\.25 s"):
            await client.track(pictures(1)).__aenter__()
