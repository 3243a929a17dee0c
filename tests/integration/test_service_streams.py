"""Streams on a real server, with stand-in networks whose results are known."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import Codec
from posewire_server.server import running_server
from posewire_server.streams import stream as stream_module
from tests.integration.service_calls import ALL, LATEST, TrackClient, connected, server_config
from tests.server.stand_ins import Gate, ShyPose, jpeg, networks, picture, png
from tests.server.videos import encode


async def test_a_stream_from_configuration_to_summary() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL, name="door", joint_set="posetrack15", max_age_ms=9000)
        for number in range(10, 16):
            await client.send(number, jpeg(picture(number)))
        answers = await client.finish()
    assert answers.order == ["started", *["tracked"] * 6, "summary"]
    started, summary = answers.started, answers.summary
    assert started is not None
    assert summary is not None
    # Omitted settings have the server's values, given ones are kept.
    assert (started.config.name, started.config.max_age_ms) == ("door", 9000)
    assert started.config.tracker.queue_length == 15
    assert started.config.tracker.similarity == settings_pb2.SIMILARITY_MULTI_FLOW
    assert len(started.joint_set.names) == 15
    assert started.models.pose == "grid"
    assert not started.resume.resumed
    for number, frame in answers.tracked.items():
        assert answers.ids(number) == [1, 2]
        assert frame.capture_time.ToMilliseconds() == 1000 + number  # returned unchanged
        assert (frame.size.width, frame.size.height) == (320, 240)
        assert {len(person.joints) for person in frame.people} == {45}
        assert {person.box_source for person in frame.people} == {pose_pb2.BOX_SOURCE_DETECTOR}
        assert frame.detector_ran
        assert frame.timings.decode_ms > 0
        assert frame.timings.total_ms >= frame.timings.decode_ms + frame.timings.pose_ms
    box = answers.tracked[10].people[0].box
    np.testing.assert_allclose((box.x, box.y, box.width, box.height), (30, 60, 39, 119), atol=2)
    assert (summary.received, summary.tracked, summary.failed, summary.dropped) == (6, 6, 0, 0)
    assert summary.identities == 2


async def test_a_frame_without_a_time_of_capture_comes_back_without_one() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        for number, data in enumerate((jpeg(picture()), b"")):
            frame = track_pb2.Frame(number=number, data=data)
            await client.call.write(track_pb2.TrackRequest(frame=frame))
        answers = await client.finish()
    assert not answers.tracked[0].HasField("capture_time")
    assert not answers.failed[1].HasField("capture_time")


@pytest.mark.parametrize("codec", [Codec.JPEG, Codec.PNG, Codec.RAW_RGB24, Codec.RAW_BGR24])
async def test_every_picture_codec(codec: Codec) -> None:
    pixels = picture()
    data, number = {
        Codec.JPEG: (jpeg(pixels), pose_pb2.CODEC_JPEG),
        Codec.PNG: (png(pixels), pose_pb2.CODEC_PNG),
        Codec.RAW_RGB24: (pixels.tobytes(), pose_pb2.CODEC_RAW_RGB24),
        Codec.RAW_BGR24: (pixels[..., ::-1].tobytes(), pose_pb2.CODEC_RAW_BGR24),
    }[codec]
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(number, drop_policy=ALL, raw_size=pose_pb2.FrameSize(width=320, height=240))
        await client.send(0, data)
        answers = await client.finish()
    assert answers.ids(0) == [1, 2]


@pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])
@pytest.mark.parametrize("b_frames", [0, 2])
async def test_video_results_belong_to_their_frames(codec: Codec, b_frames: int) -> None:
    pictures = [picture(3 * step, people=1) for step in range(20)]
    units = encode(codec, pictures, b_frames=b_frames)
    number = pose_pb2.CODEC_H264 if codec is Codec.H264 else pose_pb2.CODEC_H265
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(number, drop_policy=ALL)
        for index, unit in enumerate(units):
            await client.send(100 + index, unit)
        answers = await client.finish()
    assert answers.tracked.keys() == set(range(100, 120))
    # Results are in display order; the person walks 6 pixels from one frame to the next.
    lefts = [frame.people[0].box.x for frame in answers.tracked.values()]
    np.testing.assert_allclose(lefts, [10 + 6 * step for step in range(20)], atol=3)
    if not b_frames:
        assert list(answers.tracked) == list(range(100, 120))


async def test_bad_frames_fail_alone() -> None:
    limits = LimitsConfig(max_frame_pixels=320 * 240, max_frame_bytes=100_000, max_people=50)
    shy = networks(pose=ShyPose())
    async with running_server(server_config(limits=limits), shy) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(pose_pb2.CODEC_PNG, drop_policy=ALL)
        blue = picture(6)
        blue[0, 0] = (0, 0, 255)
        for number, data in [
            (0, png(picture(0))),
            (1, b"garbage"),
            (2, png(picture(2))[:-30]),
            (3, png(picture(3, size=(300, 400)))),
            (4, b"\x89PNG" + bytes(200_000)),
            (6, png(picture(1))),
            (5, png(picture(5))),  # numbers must increase
            (7, png(blue)),
            (8, jpeg(picture(8))),  # in a stream of PNG
        ]:
            await client.send(number, data)
        await client.send(9, png(picture(9)), boxes=np.array([[10, 10, -5, 20]]))
        await client.send(10, png(picture(2)))
        answers = await client.finish()
    reasons = {number: frame.reason for number, frame in answers.failed.items()}
    assert reasons == {
        1: track_pb2.FAILURE_REASON_UNDECODABLE,
        2: track_pb2.FAILURE_REASON_UNDECODABLE,
        3: track_pb2.FAILURE_REASON_TOO_LARGE,
        4: track_pb2.FAILURE_REASON_TOO_LARGE,
        5: track_pb2.FAILURE_REASON_BAD_NUMBER,
        7: track_pb2.FAILURE_REASON_INFERENCE,
        8: track_pb2.FAILURE_REASON_UNDECODABLE,
        9: track_pb2.FAILURE_REASON_BAD_BOXES,
    }
    assert all(frame.message for frame in answers.failed.values())
    assert "400x300 = 120000 pixels; this server accepts 76800" in answers.failed[3].message
    assert "width -5" in answers.failed[9].message
    assert answers.tracked.keys() == {0, 6, 10}
    assert answers.ids(10) == [1, 2]  # ids are kept
    summary = answers.summary
    assert summary is not None
    assert (summary.received, summary.tracked, summary.failed, summary.dropped) == (11, 3, 8, 0)


@pytest.mark.parametrize(("every_s", "expected"), [(1000.0, [True, False, True, False]), (0.0, [True] * 4)])
async def test_a_result_with_a_new_id_brings_a_token_that_knows_it(
    monkeypatch: pytest.MonkeyPatch, every_s: float, expected: list[bool]
) -> None:
    """A stream that goes on from an older one would give the id to somebody else."""
    monkeypatch.setattr(stream_module, "_TOKEN_EVERY_S", every_s)
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        tokens = []
        for number, people in enumerate((2, 2, 3, 3)):
            await client.send(number, jpeg(picture(number, people=people)))
            response = await client.read()
            assert response is not None
            tokens.append(bool(response.resume_token))
        assert (await client.finish()).ids(3) == [1, 2, 3]
    assert tokens == expected


async def test_boxes_of_the_caller_replace_the_detectors() -> None:
    own = networks()
    async with running_server(server_config(), own) as address, connected(address) as stub:
        calls_before = own.detector.calls  # type: ignore[union-attr]
        client = TrackClient(stub)
        await client.open(drop_policy=ALL, tracker=settings_pb2.TrackerSettings(propagation=False))
        await client.send(0, jpeg(picture(0)), boxes=np.array([[200, 20, 30, 60], [5, 5, 20, 40]]))
        await client.send(1, jpeg(picture(1)), boxes=np.zeros((0, 4)))  # the caller says that nobody is there
        await client.send(2, jpeg(picture(2)))
        answers = await client.finish()
        assert own.detector.calls == calls_before + 1  # type: ignore[union-attr]
    assert sorted(person.box.x for person in answers.tracked[0].people) == [5, 200]
    assert {person.box_source for person in answers.tracked[0].people} == {pose_pb2.BOX_SOURCE_CALLER}
    assert len(answers.tracked[1].people) == 0
    assert not answers.tracked[1].detector_ran
    assert len(answers.tracked[2].people) == 2
    assert answers.tracked[2].detector_ran


async def test_latest_drops_older_frames_and_tracks_the_newest() -> None:
    gate = Gate()
    gate.open.set()
    async with running_server(server_config(), networks(pose=gate)) as address, connected(address) as stub:
        gate.open.clear()
        gate.reached.clear()
        client = TrackClient(stub)
        await client.open(drop_policy=LATEST)
        await client.send(0, jpeg(picture(0)))
        await asyncio.to_thread(gate.reached.wait, 30)
        for number in range(1, 8):
            await client.send(number, jpeg(picture(number)))
        # Frame 1 may be decoded in advance; of the others, the newest stays.
        while len(client.answers.dropped) < 5:  # reported although nothing is tracked meanwhile
            await client.read()
        assert not client.answers.tracked
        gate.open.set()
        answers = await client.finish()
    assert 0 in answers.tracked
    assert 7 in answers.tracked
    assert set(answers.dropped.values()) == {track_pb2.DROP_REASON_SUPERSEDED}
    assert answers.answered == set(range(8))


async def test_frames_that_are_too_old_are_dropped() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL, max_age_ms=1)
        large = jpeg(picture(size=(1080, 1920)))  # decoding it alone takes longer
        for number in range(3):
            await client.send(number, large)
        while len(client.answers.dropped) < 3:  # reported before the stream ends
            await client.read()
        answers = await client.finish()
    assert answers.dropped == dict.fromkeys(range(3), track_pb2.DROP_REASON_TOO_OLD)


async def test_under_all_nothing_is_dropped_however_fast_frames_come() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        reading = asyncio.create_task(client.read_until("summary"))
        for number in range(60):
            await client.send(number, jpeg(picture(number % 50)))
        await client.call.done_writing()
        await reading
    assert client.answers.tracked.keys() == set(range(60))
    assert list(client.answers.tracked) == sorted(client.answers.tracked)


async def test_a_video_under_latest_is_decoded_whole() -> None:
    units = encode(Codec.H264, [picture(step, people=1) for step in range(40)], key_every=100)
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(pose_pb2.CODEC_H264, drop_policy=LATEST)
        reading = asyncio.create_task(client.read_until("summary"))
        for number, unit in enumerate(units):
            await client.send(number, unit)
            await asyncio.sleep(0)
        await client.call.done_writing()
        await reading
    answers = client.answers
    assert answers.answered == set(range(40))
    assert not answers.failed  # all tracked frames could be decoded, though they depend on dropped ones
    assert answers.tracked


async def test_the_detector_runs_every_nth_frame() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL, tracker=settings_pb2.TrackerSettings(detect_every=3))
        for number in range(7):
            await client.send(number, jpeg(picture(number)))
        answers = await client.finish()
    assert [frame.detector_ran for frame in answers.tracked.values()] == [True, False, False] * 2 + [True]
    assert all(answers.ids(number) == [1, 2] for number in range(7))
    assert {person.box_source for person in answers.tracked[1].people} == {pose_pb2.BOX_SOURCE_FLOW}
    assert {frame.detect_every for frame in answers.tracked.values()} == {3}
