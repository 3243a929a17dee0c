"""Rejected calls: the right status code, google.rpc details, and no effect on other streams."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import partial
from typing import Any

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2
from posewire_server.config import LimitsConfig
from posewire_server.observability.logs import JsonFormatter
from posewire_server.server import PoseServer, running_server
from tests.integration.raw_http2 import raw_call
from tests.integration.service_calls import ALL, TrackClient, box_list, connected, server_config
from tests.server.stand_ins import ShyPose, jpeg, networks, picture

Config = settings_pb2.StreamConfig
Tracker = settings_pb2.TrackerSettings
JPEG = pose_pb2.CODEC_JPEG


def details(error: grpc.aio.AioRpcError) -> tuple[str, str]:
    """The reason, and the field that is invalid."""
    status = rpc_status.from_call(error)
    assert status is not None
    info, violation = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest()
    field = ""
    for detail in status.details:
        if detail.Unpack(info):
            assert info.domain == "posewire"
        elif detail.Unpack(violation):
            field = violation.field_violations[0].field
            assert violation.field_violations[0].description == error.details()
    return info.reason, field


@pytest.mark.parametrize(
    ("config", "field", "says"),
    [
        (Config(), "config.codec", "codec is missing; use one of CODEC_JPEG"),
        (Config(codec=99), "config.codec", "codec is 99"),  # from a newer client
        (Config(codec=pose_pb2.CODEC_RAW_RGB24), "config.raw_size", "need their width and height"),
        (
            Config(codec=pose_pb2.CODEC_RAW_BGR24, raw_size=pose_pb2.FrameSize(width=2**31, height=2**31)),
            "config.raw_size",
            "this server accepts",
        ),
        (Config(codec=JPEG, drop_policy=7), "config.drop_policy", "drop_policy is 7"),
        (Config(codec=JPEG, name="x" * 65), "config.name", "65 characters; at most 64"),
        (Config(codec=JPEG, joint_set="squid"), "config.joint_set", "'squid'; use one of coco17, nano19, posetrack15"),
        (Config(codec=JPEG, joint_set="x" * 20_000), "config.joint_set", "x'; use one of coco17"),
        (Config(codec=JPEG, tracker=Tracker(similarity=9)), "config.tracker.similarity", "similarity is 9"),
        (Config(codec=JPEG, tracker=Tracker(queue_length=0)), "config.tracker.queue_length", "must lie in 1..1000"),
        (
            Config(codec=JPEG, tracker=Tracker(box_score_threshold=math.nan)),
            "config.tracker.box_score_threshold",
            "box_score_threshold is nan",
        ),
        (
            Config(codec=JPEG, tracker=Tracker(match_threshold=-math.inf)),
            "config.tracker.match_threshold",
            "must lie in 0..1",
        ),
        (Config(codec=JPEG, tracker=Tracker(max_people=101)), "config.tracker.max_people", "at most 100 people"),
        (
            Config(codec=JPEG, tracker=Tracker(detect_every=2, propagation=False)),
            "config.tracker.detect_every",
            "switch propagation on",
        ),
        (Config(codec=JPEG, tracker=Tracker(detect_every=4), max_detect_every=3), "config.max_detect_every", "below"),
        (
            Config(codec=JPEG, resume=settings_pb2.ResumeRequest(token=b"x", last_frame_codec=42)),
            "config.resume.last_frame_codec",
            "codec is 42",
        ),
    ],
)
async def test_configurations_that_are_refused(config: Config, field: str, says: str) -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.configure(config)
        error = await client.failure()
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert says in (error.details() or "")
    assert details(error) == ("INVALID_REQUEST", field)


async def test_a_frame_before_the_configuration() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.send(0, jpeg(picture()))
        error = await client.failure()
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "send one `config` first" in (error.details() or "")
    assert details(error)[0] == "OUT_OF_ORDER"


async def test_a_stream_without_any_message() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.call.done_writing()
        assert (await client.failure()).code() is grpc.StatusCode.FAILED_PRECONDITION


async def test_a_second_configuration() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.configure(Config(codec=JPEG))
        error = await client.failure()
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert details(error) == ("OUT_OF_ORDER", "config")


async def test_an_empty_request() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.call.write(track_pb2.TrackRequest())
        error = await client.failure()
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert details(error) == ("INVALID_REQUEST", "request")


async def test_a_message_that_is_no_message_harms_nobody_else() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        async with grpc.aio.insecure_channel(address) as channel:
            raw = channel.stream_stream("/posewire.v1.PoseTrackingService/Track")
            call = raw()
            await call.write(b"\xff\xff\xff not protobuf")
            with pytest.raises(grpc.aio.AioRpcError) as raised:
                await call.read()
            assert raised.value.code() is not grpc.StatusCode.OK
        await client.send(0, jpeg(picture()))
        assert (await client.finish()).tracked.keys() == {0}


async def test_the_largest_frames_that_can_be_allowed() -> None:
    config = server_config(limits=LimitsConfig(max_frame_bytes=2**30))
    async with running_server(config, networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.send(0, bytes(6_000_000))  # more than gRPC's default limit
        assert "not a JPEG" in (await client.finish()).failed[0].message


async def test_metadata_is_accepted_up_to_16_kb_and_never_refused_at_random() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        ask = partial(stub.GetServerInfo, pose_tracking_service_pb2.GetServerInfoRequest())
        for _ in range(8):
            await ask(metadata=[("note", "x" * 15_000)])
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await ask(metadata=[("note", "x" * 16_384)])
        assert raised.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_too_many_streams_and_again_when_one_has_ended(caplog: pytest.LogCaptureFixture) -> None:
    config = server_config(limits=LimitsConfig(max_streams=2))
    async with running_server(config, networks()) as address, connected(address) as stub:
        first, second, third = TrackClient(stub), TrackClient(stub), TrackClient(stub)
        await first.open(drop_policy=ALL)
        await second.open(drop_policy=ALL)
        await third.configure(Config(codec=JPEG))
        error = await third.failure()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "limits.max_streams" in (error.details() or "")
        assert details(error)[0] == "LIMIT_REACHED"
        (line,) = (json.loads(JsonFormatter().format(record)) for record in caplog.records)
        assert (line["level"], line["message"], line["error"]) == ("warning", "call refused", error.details())
        assert line["method"] == "/posewire.v1.PoseTrackingService/Track"
        await first.finish()
        fourth = TrackClient(stub)
        await fourth.open(drop_policy=ALL)
        await fourth.send(0, jpeg(picture()))
        assert (await fourth.finish()).ids(0) == [1, 2]
        await second.finish()


async def test_no_detector_and_no_boxes() -> None:
    async with running_server(server_config(), networks(detector=None)) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.send(0, jpeg(picture()), boxes=np.array([[10, 60, 40, 120]]))
        await client.send(1, jpeg(picture()))
        error = await client.failure()
        assert client.answers.tracked.keys() == {0}
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert "send boxes with the frames, or start the server with one" in (error.details() or "")
        assert details(error)[0] == "DETECTOR_MISSING"
        info = await stub.GetServerInfo(pose_tracking_service_pb2.GetServerInfoRequest())
        assert not info.has_detector
        assert info.active_streams == 0


async def test_streams_that_are_opened_in_a_loop() -> None:
    config = server_config(limits=LimitsConfig(max_streams=1, max_openings_per_s=0.1))
    async with running_server(config, networks()) as address, connected(address) as stub:
        first, second = TrackClient(stub), TrackClient(stub)
        await first.open(drop_policy=ALL)
        await first.finish()
        await second.configure(Config(codec=JPEG))  # its turn would come in ten seconds
        error = await second.failure()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "limits.max_openings_per_s" in str(error.details())


async def test_boxes_now_and_then_do_without_a_detector() -> None:
    """With `detect_every`, the flow carries the caller's boxes on like the detector's."""
    async with running_server(server_config(), networks(detector=None)) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL, tracker=Tracker(detect_every=3))
        for number in range(6):
            boxes = np.array([[10, 60, 40, 120]]) if number % 3 == 0 else None
            await client.send(number, jpeg(picture()), boxes=boxes)
        answers = await client.finish()
    assert [answers.ids(number) for number in range(6)] == [[1]] * 6


async def test_a_frame_beyond_what_grpc_takes_ends_its_own_stream_only() -> None:
    config = server_config(limits=LimitsConfig(max_frame_bytes=100_000))
    async with running_server(config, networks()) as address, connected(address) as stub:
        greedy, modest = TrackClient(stub), TrackClient(stub)
        await greedy.open(drop_policy=ALL)
        await modest.open(drop_policy=ALL)
        await greedy.send(0, bytes(5_000_000))
        assert (await greedy.failure()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        await modest.send(0, jpeg(picture()))
        assert (await modest.finish()).tracked.keys() == {0}


# -- single pictures ---------------------------------------------------------------------------------------------------


def _request(**fields: Any) -> pose_tracking_service_pb2.EstimatePosesRequest:
    return pose_tracking_service_pb2.EstimatePosesRequest(**{"codec": JPEG, "data": jpeg(picture()), **fields})


async def test_poses_in_a_picture() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        found = await stub.EstimatePoses(_request())
        given = await stub.EstimatePoses(_request(boxes=box_list(np.array([[70, 60, 40, 120], [10, 60, 40, 120]]))))
        nobody = await stub.EstimatePoses(_request(boxes=box_list(np.zeros((0, 4)))))
        none_good_enough = await stub.EstimatePoses(_request(box_score_threshold=0.95))
        other_joints = await stub.EstimatePoses(_request(joint_set="posetrack15"))
    assert (found.size.width, found.size.height) == (320, 240)
    assert [person.id for person in found.people] == [0, 0]
    assert [len(person.joints) for person in found.people] == [51, 51]
    assert found.people[0].score == pytest.approx(0.9 * 0.9)
    assert found.people[0].box_source == pose_pb2.BOX_SOURCE_DETECTOR
    assert [person.box.x for person in given.people] == [70, 10]  # in the caller's order
    assert given.people[0].box_source == pose_pb2.BOX_SOURCE_CALLER
    assert given.timings.detect_ms == 0
    assert given.timings.pose_ms > 0
    assert len(nobody.people) == 0
    assert len(none_good_enough.people) == 0
    assert other_joints.joint_set.name == "posetrack15"
    assert len(other_joints.people[0].joints) == 45


@pytest.mark.parametrize(
    ("request_", "code", "reason", "field"),
    [
        (_request(data=b""), "INVALID_ARGUMENT", "UNDECODABLE", ""),
        (_request(data=jpeg(picture())[:-99]), "INVALID_ARGUMENT", "UNDECODABLE", ""),
        (_request(codec=0), "INVALID_ARGUMENT", "INVALID_REQUEST", "codec"),
        (_request(codec=pose_pb2.CODEC_H264), "INVALID_ARGUMENT", "INVALID_REQUEST", "codec"),
        (_request(codec=pose_pb2.CODEC_RAW_RGB24), "INVALID_ARGUMENT", "INVALID_REQUEST", "raw_size"),
        (
            _request(codec=pose_pb2.CODEC_RAW_RGB24, raw_size=pose_pb2.FrameSize(width=9, height=9)),
            "INVALID_ARGUMENT",
            "WRONG_SIZE",
            "",
        ),
        (_request(data=jpeg(picture(size=(600, 600)))), "RESOURCE_EXHAUSTED", "TOO_LARGE", ""),
        (_request(data=bytes(200_000)), "RESOURCE_EXHAUSTED", "TOO_LARGE", "data"),
        (_request(joint_set="squid"), "INVALID_ARGUMENT", "INVALID_REQUEST", "joint_set"),
        (_request(box_score_threshold=math.nan), "INVALID_ARGUMENT", "INVALID_REQUEST", "box_score_threshold"),
        (_request(boxes=box_list(np.array([[0, 0, math.inf, 1]]))), "INVALID_ARGUMENT", "BAD_BOXES", "boxes"),
        (_request(boxes=box_list(np.ones((101, 4)))), "INVALID_ARGUMENT", "BAD_BOXES", "boxes"),
    ],
)
async def test_pictures_that_are_refused(
    request_: pose_tracking_service_pb2.EstimatePosesRequest, code: str, reason: str, field: str
) -> None:
    config = server_config(limits=LimitsConfig(max_frame_bytes=100_000, max_frame_pixels=500 * 500))
    async with running_server(config, networks()) as address, connected(address) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.EstimatePoses(request_)
    assert raised.value.code().name == code
    assert details(raised.value) == (reason, field)


async def test_a_picture_on_which_a_network_fails() -> None:
    blue = picture()
    blue[0, 0] = (0, 0, 255)
    request = _request(
        codec=pose_pb2.CODEC_RAW_RGB24, data=blue.tobytes(), raw_size=pose_pb2.FrameSize(width=320, height=240)
    )
    async with running_server(server_config(), networks(pose=ShyPose())) as address, connected(address) as stub:
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await stub.EstimatePoses(request)
        assert raised.value.code() is grpc.StatusCode.INTERNAL
        assert details(raised.value)[0] == "INFERENCE"
        assert len((await stub.EstimatePoses(_request())).people) == 2


async def test_a_method_whose_name_is_no_text() -> None:
    server = await PoseServer.start(server_config(), networks())
    async with raw_call(server.port, "/\xff") as call:
        await call.began.wait()
    async with connected(server.address) as stub:  # which is a new connection
        assert (await stub.GetServerInfo(pose_tracking_service_pb2.GetServerInfoRequest())).version
    await server.stop()


async def test_what_the_server_says_of_itself() -> None:
    served = networks()
    served = replace(served, names=replace(served.names, flip_test=True))
    async with running_server(server_config(), served) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open()
        info = await stub.GetServerInfo(pose_tracking_service_pb2.GetServerInfoRequest())
        await client.finish()
    assert info.version
    assert (info.models.bundle, info.models.bundle_version, info.models.flip_test) == ("stand-in", 1, True)
    assert info.joint_set.name == "coco17"
    assert set(info.joint_sets) == {"coco17", "nano19", "posetrack15"}
    assert len(info.codecs) == 6
    assert (info.limits.max_people, info.limits.max_pictures) == (100, 16)
    assert info.tracker_defaults.queue_length == 15
    assert info.active_streams == 1
    assert info.has_detector
