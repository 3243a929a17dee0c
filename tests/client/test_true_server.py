"""The SDK with the real server and the bundled networks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import posewire
from posewire import AsyncClient, SourceFrame

pytest.importorskip("torch", reason="needs the extra `server`")


@pytest.fixture
async def address() -> AsyncIterator[str]:
    from posewire_server.config import ServerConfig
    from posewire_server.server import running_server

    config = ServerConfig(port=0, device="cpu", detector="none", flow="dis")
    async with running_server(config) as where:
        yield where


def frames(count: int) -> list[SourceFrame]:
    """A person made of grey blocks who walks to the right, with the box."""
    scene = np.random.default_rng(3).integers(0, 60, (120, 160, 3), dtype=np.uint8)
    result = []
    for number in range(count):
        picture, left = scene.copy(), 40 + 2 * number
        picture[20:100, left : left + 24] = 180
        result.append(SourceFrame(number, number / 10, image=picture, boxes=[[left - 4, 16, left + 28, 104]]))
    return result


@pytest.mark.parametrize("codec", ["jpeg", "png", "raw"])
async def test_every_frame_is_answered_for(address: str, codec: Any) -> None:
    async with AsyncClient(address) as client:
        options: dict[str, Any] = {"raw_size": (160, 120)} if codec == "raw" else {}
        async with client.track(frames(6), codec=codec, joint_set="coco17", **options) as stream:
            assert stream.info.joint_set is posewire.COCO17
            assert stream.info.settings.codec == codec
            assert stream.info.settings.tracker.similarity == "multi-flow"
            results = [result async for result in stream]
    assert [result.frame for result in results] == list(range(6))
    assert all(result.tracked and result.size == (160, 120) for result in results)
    people = [person for result in results for person in result.people]
    assert {person.joints.shape for person in people} == {(17, 3)}
    assert {person.source for person in people} - {"flow"} == {"caller"}  # whose boxes may not hold all of a person
    assert stream.summary is not None
    assert stream.summary.frames == stream.summary.tracked == 6


async def test_a_torn_frame_fails_and_the_stream_goes_on(address: str) -> None:
    async with AsyncClient(address) as client, client.track() as stream:
        for frame in frames(3):
            assert isinstance(frame.image, np.ndarray)
            await stream.send(b"torn" if frame.number == 1 else frame.image, boxes=frame.boxes)
        await stream.finish()
        results = [result async for result in stream]
    assert [(str(result.status), result.reason) for result in results] == [
        ("tracked", ""),
        ("failed", "undecodable"),
        ("tracked", ""),
    ]
    assert results[1].message


async def test_what_the_server_refuses_is_said_in_its_words(address: str) -> None:
    async with AsyncClient(address) as client:
        with pytest.raises(posewire.InvalidRequest, match="coco17") as caught:
            await client.track(joint_set="mpii").__aenter__()
        assert caught.value.reason == "INVALID_REQUEST"
        assert caught.value.violations[0].field == "config.joint_set"
        with pytest.raises(posewire.ServerRefused):
            await client.estimate_poses(frames(1)[0].image, boxes=[[0, 0, 9, 9]] * 101)  # type: ignore[arg-type]
        info = await client.server_info()
        assert not info.has_detector
        assert info.limits.max_people == 100
        estimate = await client.estimate_poses(frames(1)[0].image, boxes=[[36, 16, 68, 104]])  # type: ignore[arg-type]
        assert estimate.people[0].box_xyxy.tolist() == [36, 16, 68, 104]


async def test_a_frame_that_grpc_itself_refuses_comes_with_a_remedy(address: str) -> None:
    async with AsyncClient(address) as client, client.track() as stream:
        await stream.send(bytes(70_000_000))
        with pytest.raises(
            posewire.LimitExceeded, match=r"larger than max .*; if a message was too large, send smaller"
        ):
            await anext(aiter(stream))


async def test_packets_of_a_real_clip_are_tracked_as_they_are(address: str, shared_data: Path) -> None:
    source = posewire.open_source(shared_data / "video" / "squats.mp4", codec="passthrough", max_frames=4)
    async with AsyncClient(address) as client, client.track(codec="h264") as stream:
        for frame in source:
            assert frame.packet is not None
            await stream.send(frame.packet, time_s=frame.time_s, boxes=[[190, 170, 490, 1040]])
        await stream.finish()
        results = [result async for result in stream]
    source.close()
    assert [(result.frame, result.tracked, result.size) for result in results] == [
        (number, True, (720, 1280)) for number in range(4)
    ]
    assert [len(result.people) for result in results] == [1] * 4
