"""Stopping a server, and streams that resume elsewhere."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from posewire.v1 import pose_pb2, settings_pb2, track_pb2
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import Codec
from posewire_server.server import PoseServer, running_server
from posewire_server.wire.requests import ResumeRequest
from tests.integration.service_calls import ALL, Answers, TrackClient, connected, server_config
from tests.server.stand_ins import Gate, jpeg, networks, picture
from tests.server.videos import encode


@asynccontextmanager
async def _watched_health(address: str) -> AsyncIterator[Callable[[str], Awaitable[None]]]:
    """Yields a function that returns when the server's health has the given status."""
    async with grpc.aio.insecure_channel(address) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())

        async def becomes(status: str) -> None:
            while (await watch.read()).status != health_pb2.HealthCheckResponse.ServingStatus.Value(status):
                pass

        yield becomes
        watch.cancel()


async def test_draining_finishes_the_frame_in_work_and_answers_for_the_rest() -> None:
    gate = Gate()
    gate.open.set()
    server = await PoseServer.start(server_config(), networks(pose=gate))
    async with connected(server.address) as stub, _watched_health(server.address) as health_becomes:
        await health_becomes("SERVING")
        gate.open.clear()
        gate.reached.clear()
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.send(0, jpeg(picture(0)))
        await asyncio.to_thread(gate.reached.wait, 30)
        for number in range(1, 5):
            await client.send(number, jpeg(picture(number)))
        stopping = asyncio.create_task(server.stop())
        await health_becomes("NOT_SERVING")
        gate.open.set()
        await client.read_until("drain")
        await client.send(5, jpeg(picture(5)))  # as if it had been in flight
        answers = await client.finish()
        await stopping
    assert answers.tracked.keys() == {0}
    assert answers.dropped == dict.fromkeys(range(1, 6), track_pb2.DROP_REASON_DRAINING)
    assert answers.drain is not None
    assert 0 <= answers.drain.grace.ToMilliseconds() <= 5000
    assert answers.token
    summary = answers.summary
    assert summary is not None
    assert (summary.received, summary.tracked, summary.dropped) == (6, 1, 5)


async def test_a_frame_that_cannot_be_finished_in_time_is_given_up() -> None:
    gate = Gate()
    gate.open.set()
    server = await PoseServer.start(server_config(drain_grace_s=1.0), networks(pose=gate))
    async with connected(server.address) as stub, connected(server.address) as other:
        clients = [TrackClient(each) for each in (stub, other)]
        for client in clients:
            await client.open(drop_policy=ALL)
            await client.send(0, jpeg(picture(0)))
            await client.read_until("tracked")
        gate.open.clear()
        for client in clients:
            await client.send(1, jpeg(picture(1)))
        await asyncio.to_thread(gate.reached.wait, 30)
        stopping = asyncio.create_task(server.stop())
        try:
            every = await asyncio.gather(*(client.finish() for client in clients))
        finally:
            gate.open.set()
            await stopping
    for answers in every:
        assert answers.order == ["started", "tracked", "drain", "summary"]
        assert answers.dropped == {1: track_pb2.DROP_REASON_DRAINING}
        assert answers.token
        assert answers.summary is not None
        assert answers.summary.identities == 2
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        resume = settings_pb2.ResumeRequest(token=every[0].token, last_frame=jpeg(picture(0)))
        await client.open(drop_policy=ALL, resume=resume)
        await client.send(1, jpeg(picture(1)))
        answers = await client.finish()
    assert answers.started is not None
    assert answers.started.resume.resumed
    assert [person.id for person in answers.tracked[1].people] == [1, 2]


async def test_the_event_loop_goes_on_while_a_network_is_waited_for() -> None:
    gate = Gate()
    gate.open.set()
    server = await PoseServer.start(server_config(drain_grace_s=0.1), networks(pose=gate))
    gate.open.clear()
    gate.reached.clear()
    async with connected(server.address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.send(0, jpeg(picture(0)))
        await asyncio.to_thread(gate.reached.wait, 30)
        stopping = asyncio.create_task(server.stop())
        while not server._pipeline._pose._closed:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
        assert not stopping.done()
        gate.open.set()
        await stopping


async def test_a_client_that_ignores_the_drain_does_not_hold_the_server() -> None:
    server = await PoseServer.start(server_config(drain_grace_s=0.4), networks())
    async with connected(server.address) as stub:
        client, opening = TrackClient(stub), TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.send(0, jpeg(picture(0)))
        await client.read()
        await opening.call.wait_for_connection()  # and never sends its configuration
        async with asyncio.timeout(10):
            await server.stop()
            # The stream still ends normally: it has been told everything.
            while await client.read() is not None:
                pass
    assert client.answers.order == ["started", "tracked", "drain", "summary"]


async def test_twenty_streams_drain_together() -> None:
    server = await PoseServer.start(server_config(), networks())

    all_open = asyncio.Barrier(21)

    async def camera(address: str) -> Answers:
        async with connected(address) as stub:
            client = TrackClient(stub)
            await client.open(drop_policy=ALL)
            await all_open.wait()
            reading = asyncio.create_task(client.read_until("drain"))
            number = 0
            while not reading.done():
                await client.send(number, jpeg(picture(number % 50)))
                number += 1
                await asyncio.sleep(0)
            await reading
            answers = await client.finish()
            assert answers.answered == set(range(number))
            return answers

    cameras = [asyncio.create_task(camera(server.address)) for _ in range(20)]
    await all_open.wait()
    assert server.service.places.streams == 20
    async with asyncio.timeout(20):
        await server.stop()
        every = await asyncio.gather(*cameras)
    assert all(answers.summary is not None for answers in every)
    assert server.service.places.streams == 0


async def test_nothing_new_is_taken_while_draining() -> None:
    gate = Gate()
    gate.open.set()
    server = await PoseServer.start(server_config(), networks(pose=gate))
    async with connected(server.address) as stub, _watched_health(server.address) as health_becomes:
        gate.open.clear()
        gate.reached.clear()
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.send(0, jpeg(picture(0)))
        await asyncio.to_thread(gate.reached.wait, 30)
        stopping = asyncio.create_task(server.stop())
        await health_becomes("NOT_SERVING")
        for _ in range(5):
            refusal = await TrackClient(stub).failure()
            assert refusal.code() is grpc.StatusCode.UNAVAILABLE
            assert "about to stop" in (refusal.details() or "")
        gate.open.set()
        await client.finish()
        await stopping


async def test_a_stream_that_waits_to_be_opened_is_told_that_the_server_stops() -> None:
    limits = LimitsConfig(max_streams=1, max_openings_per_s=0.25)  # the second one within 4 s waits for its turn
    server = await PoseServer.start(server_config(limits=limits), networks())
    async with connected(server.address) as stub:
        first = TrackClient(stub)
        await first.open(drop_policy=ALL)
        await first.finish()
        second = TrackClient(stub)
        await second.configure(settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG))
        await asyncio.sleep(0.5)
        await server.stop()
        refusal = await second.failure()
    assert refusal.code() is grpc.StatusCode.UNAVAILABLE
    assert "about to stop" in (refusal.details() or "")


# -- going on ----------------------------------------------------------------------------------------------------------


async def _first_part(address: str, frames: int = 4) -> Answers:
    async with connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        for number in range(frames):
            await client.send(number, jpeg(picture(number, people=3)))
        return await client.finish()


def _key(tmp_path: Path) -> Path:
    return tmp_path / "resume.key"


async def test_ids_go_on_at_another_server_with_the_same_key(tmp_path: Path) -> None:
    config = server_config(resume_key=_key(tmp_path))
    async with running_server(config, networks()) as address:
        before = await _first_part(address, frames=1)  # the token comes with the first frame
    assert before.token
    async with running_server(config, networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        last = settings_pb2.ResumeRequest(token=before.token, last_frame=jpeg(picture(0, people=3)))
        await client.open(drop_policy=ALL, resume=last)
        # Two of the three are still there, and the first one is gone: a new stream would call the others 1, 2.
        rest = picture(1, people=3)
        rest[:, :60] = 0
        await client.send(7, jpeg(rest))
        answers = await client.finish()
    assert answers.started is not None
    assert answers.started.resume.resumed
    assert sorted(answers.ids(7)) == [2, 3]
    assert answers.summary is not None
    assert answers.summary.identities == 3


async def test_a_resumed_stream_does_not_keep_the_frame_that_it_was_resumed_with(tmp_path: Path) -> None:
    async with running_server(server_config(resume_key=_key(tmp_path)), networks()) as address:
        token = (await _first_part(address)).token
        async with connected(address) as stub:
            client = TrackClient(stub)
            resume = settings_pb2.ResumeRequest(token=token, last_frame=jpeg(picture(0, people=3)))
            answers = await client.open(drop_policy=ALL, resume=resume)
            assert answers.started is not None
            assert answers.started.resume.resumed
            gc.collect()
            assert not any(type(each) is ResumeRequest for each in gc.get_objects())
            await client.finish()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda token: b"", "the token is empty"),
        (lambda token: token[:-1] + bytes([token[-1] ^ 1]), "not signed"),  # one bit
        (lambda token: bytes(32) + token[32:], "not signed"),  # forged
    ],
)
async def test_a_token_that_was_changed_is_refused(tmp_path: Path, change: object, why: str) -> None:
    async with running_server(server_config(resume_key=_key(tmp_path)), networks()) as address:
        token = change((await _first_part(address)).token)  # type: ignore[operator]
        async with connected(address) as stub:
            client = TrackClient(stub)
            answers = await client.open(drop_policy=ALL, resume=settings_pb2.ResumeRequest(token=token))
            await client.send(0, jpeg(picture(0)))
            await client.finish()
    assert answers.started is not None
    assert not answers.started.resume.resumed
    assert why in answers.started.resume.refusal
    assert answers.ids(0) == [1, 2]  # a new stream


async def test_a_token_is_refused_elsewhere_under_another_key_or_with_other_settings(tmp_path: Path) -> None:
    async with running_server(server_config(resume_key=_key(tmp_path)), networks()) as address:
        token = (await _first_part(address)).token
        async with connected(address) as stub:
            client = TrackClient(stub)
            tracker = settings_pb2.TrackerSettings(queue_length=3)
            resume = settings_pb2.ResumeRequest(token=token)
            answers = await client.open(drop_policy=ALL, tracker=tracker, resume=resume)
            await client.finish()
        assert answers.started is not None
        assert "other tracker settings" in answers.started.resume.refusal
    async with running_server(server_config(resume_key=tmp_path / "other.key"), networks()) as address:
        async with connected(address) as stub:
            client = TrackClient(stub)
            answers = await client.open(drop_policy=ALL, resume=settings_pb2.ResumeRequest(token=token))
            await client.finish()
        assert answers.started is not None
        assert "not signed with this server's key" in answers.started.resume.refusal


@pytest.mark.parametrize(
    "last_frame",
    [
        b"garbage",
        jpeg(picture(size=(100, 100))),  # of another camera
    ],
)
async def test_ids_go_on_even_if_the_last_frame_is_unusable(tmp_path: Path, last_frame: bytes) -> None:
    async with running_server(server_config(resume_key=_key(tmp_path)), networks()) as address:
        token = (await _first_part(address)).token
        async with connected(address) as stub:
            client = TrackClient(stub)
            resume = settings_pb2.ResumeRequest(token=token, last_frame=last_frame)
            answers = await client.open(drop_policy=ALL, resume=resume)
            await client.send(0, jpeg(picture(1, people=3)))
            await client.finish()
    assert answers.started is not None
    assert answers.started.resume.resumed
    assert sorted(answers.ids(0)) == [1, 2, 3]


async def test_a_video_goes_on_with_a_picture_as_its_last_frame(tmp_path: Path) -> None:
    units = encode(Codec.H264, [picture(step) for step in range(3)])
    async with running_server(server_config(resume_key=_key(tmp_path)), networks()) as address:
        token = (await _first_part(address, frames=1)).token
        async with connected(address) as stub:
            client = TrackClient(stub)
            resume = settings_pb2.ResumeRequest(
                token=token, last_frame=jpeg(picture(0)), last_frame_codec=pose_pb2.CODEC_JPEG
            )
            answers = await client.open(pose_pb2.CODEC_H264, drop_policy=ALL, resume=resume)
            for number, unit in enumerate(units):
                await client.send(number, unit)
            await client.finish()
    assert answers.started is not None
    assert answers.started.resume.resumed
    assert sorted(answers.ids(2)) == [1, 2]


async def test_a_token_goes_out_with_every_birth_so_that_no_id_is_given_twice(tmp_path: Path) -> None:
    async with running_server(server_config(resume_key=_key(tmp_path)), networks()) as address:
        async with connected(address) as stub:
            client = TrackClient(stub)
            await client.open(drop_policy=ALL)
            carried = []
            for number in range(6):
                await client.send(number, jpeg(picture(number, people=1 if number < 4 else 2)))
                response = await client.read()
                carried.append(bool(response is not None and response.resume_token))
            client.call.cancel()
        assert carried[0]
        assert carried[4]  # a new person, within a second of the previous token
        async with connected(address) as stub:
            following = TrackClient(stub)
            await following.open(drop_policy=ALL, resume=settings_pb2.ResumeRequest(token=client.answers.token))
            await following.send(0, jpeg(picture(6, people=3)))
            answers = await following.finish()
    assert sorted(answers.ids(0)) == [1, 2, 3]
