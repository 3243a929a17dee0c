"""Many streams on one server: none disturbs another, and nothing is left behind."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import grpc
import numpy as np
import pytest

from posewire.v1 import pose_pb2, settings_pb2
from posewire.v1.pose_tracking_service_pb2 import EstimatePosesRequest, GetServerInfoRequest
from posewire_models.frames import Frame
from posewire_server.decoding.decoders import Codec, PictureDecoder
from posewire_server.decoding.video import VideoDecoder
from posewire_server.server import PoseServer, running_server
from posewire_server.streams.session import Session
from tests.integration.service_calls import ALL, LATEST, Answers, TrackClient, connected, server_config
from tests.server.stand_ins import HeldDecoding, ShyPose, jpeg, networks, picture, png
from tests.server.videos import encode


async def _walk(
    address: str, people: int, frames: int = 12, policy: settings_pb2.DropPolicy.ValueType = ALL
) -> Answers:
    """A stream on its own connection; the last person of the scene is hidden for some frames in the middle."""
    async with connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=policy)
        for number in range(frames):
            there = people - 1 if 4 <= number < 7 else people
            await client.send(number, jpeg(picture(number, people=there)))
        return await client.finish()


async def _until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not happened():  # noqa: ASYNC110  nobody tells when a handler has cleaned up
            await asyncio.sleep(0.01)


async def test_a_stream_gives_the_same_alone_and_among_others() -> None:
    async with running_server(server_config(), networks()) as address:
        alone = await _walk(address, people=3)
        among = await asyncio.gather(*(_walk(address, people=1 + index % 5) for index in range(10)))
    same = among[2]
    for number in range(12):
        assert same.ids(number) == alone.ids(number)
        for person, lone in zip(same.tracked[number].people, alone.tracked[number].people, strict=True):
            np.testing.assert_allclose(person.joints, lone.joints, atol=1e-3)
    for index, answers in enumerate(among):
        assert answers.answered == set(range(12))
        assert answers.summary is not None
        assert answers.summary.identities == 1 + index % 5  # ids start at 1 in every stream


@pytest.mark.parametrize("policy", [ALL, LATEST])
async def test_clients_that_vanish_disturb_nobody(policy: settings_pb2.DropPolicy.ValueType) -> None:
    server = await PoseServer.start(server_config(), networks())
    try:

        async def vanish(after: int, *, by_cancelling: bool) -> None:
            async with connected(server.address) as stub:
                client = TrackClient(stub)
                await client.open(drop_policy=policy)
                for number in range(after):
                    await client.send(number, jpeg(picture(number)))
                if by_cancelling:  # else the channel is closed with the call open
                    client.call.cancel()

        faithful = asyncio.create_task(_walk(server.address, people=2))
        await asyncio.gather(*(vanish(after, by_cancelling=way) for after in range(6) for way in (True, False)))
        answers = await faithful
        assert answers.tracked.keys() == set(range(12))
        await _until(lambda: not server.service.places.streams)
    finally:
        await server.stop()


async def test_a_client_that_does_not_read_is_held_back_and_holds_nobody_up() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        stuck = TrackClient(stub)
        await stuck.open(drop_policy=LATEST)

        async def flood() -> None:
            number = 0
            while True:
                await stuck.send(number, b"not a picture, and answered with an error that is never read")
                number += 1

        flooding = asyncio.create_task(flood())
        try:
            answers = await _walk(address, people=2)
            assert answers.tracked.keys() == set(range(12))
        finally:
            flooding.cancel()
            await asyncio.gather(flooding, return_exceptions=True)
            stuck.call.cancel()


async def test_pictures_leave_a_decoding_thread_to_the_streams(monkeypatch: pytest.MonkeyPatch) -> None:
    slow = png(picture())
    decoding = HeldDecoding(monkeypatch, slow)
    server = await PoseServer.start(server_config(decode_threads=2), networks())
    try:
        async with connected(server.address) as stub:
            request = EstimatePosesRequest(codec=pose_pb2.CODEC_PNG, data=slow)
            given_up = [stub.EstimatePoses(request) for _ in range(3)]
            await _until(lambda: server.service.places.pictures == 3 and decoding.begun.is_set())
            for call in given_up:
                call.cancel()
            await _until(lambda: server.service.places.pictures < 3)
            asked = [asyncio.ensure_future(stub.EstimatePoses(request)) for _ in range(8)]
            await _until(lambda: server.service.places.pictures == 9)  # one of those given up is being decoded
            client = TrackClient(stub)
            await client.open(drop_policy=ALL)
            await client.send(0, jpeg(picture()))
            assert (await client.finish()).tracked.keys() == {0}
            assert server.service.places.pictures == 9
            decoding.go.set()
            assert len(await asyncio.gather(*asked)) == 8
    finally:
        decoding.go.set()
        await server.stop()


@pytest.mark.parametrize("resumes", [False, True], ids=["frame", "last frame of an earlier stream"])
async def test_a_stream_keeps_its_place_while_its_picture_is_decoded(
    resumes: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a client that breaks off its streams would queue any number of pictures."""
    slow = jpeg(picture(1))
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        earlier = TrackClient(stub)
        await earlier.open(drop_policy=ALL)
        await earlier.send(0, jpeg(picture()))
        token = (await earlier.finish()).token
        decoding = HeldDecoding(monkeypatch, slow)
        try:
            client = TrackClient(stub)
            if resumes:
                await client.configure(
                    settings_pb2.StreamConfig(
                        codec=pose_pb2.CODEC_JPEG, drop_policy=ALL, resume={"token": token, "last_frame": slow}
                    )
                )
            else:
                await client.open(drop_policy=ALL)
                await client.send(0, slow)
            await _until(decoding.begun.is_set)
            client.call.cancel()
            for _ in range(10):
                assert (await stub.GetServerInfo(GetServerInfoRequest())).active_streams == 1
        finally:
            decoding.go.set()
        info = await stub.GetServerInfo(GetServerInfoRequest())
        while info.active_streams > 0:
            info = await stub.GetServerInfo(GetServerInfoRequest())


def _memory_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads the memory of the process from /proc")
async def test_memory_does_not_grow_with_frames_or_streams() -> None:
    """A short version; the benchmark does this with thousands of frames and hundreds of streams."""
    pixels = picture(size=(720, 1280))  # 2.8 MB once decoded, so that frames that are kept show
    data = jpeg(pixels)
    boxes = np.array([[10, 60, 40, 120]])
    server = await PoseServer.start(server_config(), networks(detector=None))
    try:

        async def stream(frames: int) -> None:
            async with connected(server.address) as stub:
                client = TrackClient(stub)
                await client.open(drop_policy=ALL)
                for number in range(frames):
                    await client.send(number, data, boxes)
                    await client.read()
                await client.finish()

        await stream(40)
        for _ in range(5):
            await stream(1)
        before = _memory_mb()
        await stream(150)
        for _ in range(40):
            await stream(1)
        assert _memory_mb() - before < 60  # 190 kept frames would be 500
    finally:
        await server.stop()


def _alive(*kinds: type) -> list[object]:
    return [each for each in gc.get_objects() if type(each) in kinds]


async def _to_its_end(client: TrackClient) -> None:
    await client.finish()


async def _broken_off(client: TrackClient) -> None:
    client.call.cancel()


async def _out_of_order(client: TrackClient) -> None:
    await client.configure(settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG))
    assert (await client.failure()).code() is grpc.StatusCode.FAILED_PRECONDITION


@pytest.mark.parametrize("end", [_to_its_end, _broken_off, _out_of_order])
@pytest.mark.parametrize("codec", [pose_pb2.CODEC_JPEG, pose_pb2.CODEC_H264], ids=["jpeg", "h264"])
async def test_frames_and_decoders_are_freed_as_soon_as_a_stream_ends(
    codec: pose_pb2.Codec.ValueType, end: Callable[[TrackClient], Awaitable[None]], no_cycle_collector: None
) -> None:
    """Python's cycle collector may run late, and does not know about GPU memory."""
    pictures = [picture(number) for number in range(6)]
    units = encode(Codec.H264, pictures) if codec == pose_pb2.CODEC_H264 else [jpeg(pixels) for pixels in pictures]

    def alive() -> list[object]:
        return _alive(Frame, Session, PictureDecoder, VideoDecoder)

    server = await PoseServer.start(server_config(), networks())
    try:
        async with connected(server.address) as stub:
            client = TrackClient(stub)
            await client.open(codec, drop_policy=ALL)
            for number, data in enumerate(units):
                await client.send(number, data)
            await client.read_until("tracked")
            assert alive()
            await end(client)
        with suppress(TimeoutError):
            await _until(lambda: not alive())
        assert alive() == []
    finally:
        await server.stop()


async def test_a_stream_that_ends_before_it_began_leaves_nothing(
    no_cycle_collector: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    reached = asyncio.Event()

    async def is_never_done(*_: object) -> str:
        reached.set()
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr("posewire_server.service.continue_session", is_never_done)
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.configure(settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG, resume={"token": b"a token"}))
        await reached.wait()
        assert _alive(Session)
        client.call.cancel()
        await _until(lambda: not _alive(Session))


async def test_frames_that_a_network_fails_on_are_not_kept(
    no_cycle_collector: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # pytest keeps log records, and with an error everything in its traceback
    async with running_server(server_config(), networks(pose=ShyPose())) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(pose_pb2.CODEC_PNG, drop_policy=ALL)
        pixels = picture().copy()
        pixels[0, 0] = 0, 0, 255
        for number in range(10):
            await client.send(number, png(pixels))
            await client.read()
        assert len(client.answers.failed) == 10
        assert len(_alive(Frame)) <= 2  # the last one, as the previous frame of the next, and perhaps one in flight
        await client.finish()


async def test_the_real_bundle_on_boxes_of_the_caller() -> None:
    async with running_server(server_config()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL, joint_set="coco17")
        data = jpeg(picture(size=(240, 320)))
        for number in range(4):
            await client.send(number, data, boxes=np.array([[10, 60, 40, 120], [70, 60, 40, 120]]))
        answers = await client.finish()
    assert answers.started is not None
    assert answers.started.models.bundle == "nano"
    for number in range(4):
        frame = answers.tracked[number]
        assert [person.box_source for person in frame.people] == [pose_pb2.BOX_SOURCE_CALLER] * 2
        assert [len(person.joints) for person in frame.people] == [51] * 2
        assert frame.timings.pose_ms > 0
        assert (frame.timings.flow_ms > 0) == (number > 0)
