"""Observing a real server: metrics over HTTP, streams, health of its networks, logs."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import signal
import socket
import sys
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Sequence

import grpc
import pytest
from grpc._cython import cygrpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2
from posewire_models.frames import Frame
from posewire_server import service
from posewire_server.configuration import ConfigError
from posewire_server.observability.logs import JsonFormatter
from posewire_server.observability.metrics import Metrics, StreamEnding
from posewire_server.server import PoseServer, running_server
from posewire_server.streams.outbox import Outbox
from tests.integration.service_calls import ALL, LATEST, TrackClient, connected, server_config
from tests.server.stand_ins import Floats, Gate, GridPose, ShyPose, jpeg, networks, picture, png

List = pose_tracking_service_pb2.ListStreamsRequest
SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _get(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


async def test_metrics_over_http(free_port: int) -> None:
    config = server_config(metrics_port=free_port)
    async with running_server(config, networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL, name="secret-camera")
        for number in range(3):
            await client.send(number, jpeg(picture(number)))
        await client.send(3, b"not a picture")
        for _ in range(4):
            await client.read()
        request = pose_tracking_service_pb2.EstimatePosesRequest(codec=pose_pb2.CODEC_JPEG, data=jpeg(picture()))
        await stub.EstimatePoses(request)
        token = (await client.finish()).token  # a frame is counted once sent: the summary comes after the last one
        resumed = TrackClient(stub)
        await resumed.open(drop_policy=LATEST, resume=settings_pb2.ResumeRequest(token=token))
        await resumed.send(4, jpeg(picture(3)))
        await resumed.finish()
        other = TrackClient(stub)
        started = (await other.open(resume=settings_pb2.ResumeRequest(token=b"forged"))).started
        assert started is not None
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.EstimatePoses(pose_tracking_service_pb2.EstimatePosesRequest())
        values = await asyncio.to_thread(_get, free_port)
    assert values["posewire_frames_tracked_total"] == 4
    assert values['posewire_frames_failed_total{reason="undecodable"}'] == 1
    assert values['posewire_frames_dropped_total{reason="superseded"}'] == 0
    assert values["posewire_people_per_frame_sum"] == 8
    assert values["posewire_identities_total"] == 2  # those of the resumed stream count once
    assert values["posewire_pictures_total"] == 1
    assert values["posewire_open_streams"] == 1
    assert values['posewire_resumes_total{outcome="refused"}'] == 1
    assert values['posewire_resumes_total{outcome="resumed"}'] == 1
    assert values['posewire_calls_refused_total{reason="invalid-request"}'] == 1
    for stage, count in {"decode": 3, "detect": 3, "flow": 2, "pose": 3, "track": 3, "total": 3}.items():
        assert values[f'posewire_frame_seconds_count{{policy="all",stage="{stage}"}}'] == count
    assert values['posewire_batch_items_count{stage="pose"}'] >= 4
    assert values['posewire_waiting_requests{stage="pose"}'] == 0
    assert values["process_resident_memory_bytes"] > 1e6
    # Nothing chosen by clients becomes a label, since the number of labels would be unbounded.
    assert not re.search(f"secret-camera|{started.stream_id}", " ".join(values))


async def test_every_frame_of_a_stream_that_broke_off_is_counted() -> None:
    gate = Gate()
    gate.open.set()
    server = await PoseServer.start(server_config(), networks(pose=gate))
    async with connected(server.address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.send(0, jpeg(picture(0)))
        await client.send(1, b"not a picture")
        for _ in range(2):
            await client.read()
        gate.open.clear()
        gate.reached.clear()
        for number in (2, 3, 4):
            await client.send(number, jpeg(picture(number)))
        await asyncio.to_thread(gate.reached.wait, 30)
        await client.send(4, jpeg(picture(4)))  # a repeated number: rejected as soon as it is read, after the others
        await client.read()
        client.call.cancel()
        await server.service.places.wait_until_idle()
        gate.open.set()
    await server.stop()
    value = server.metrics.registry.get_sample_value
    assert value("posewire_frames_tracked_total") == 1
    assert value("posewire_frames_failed_total", {"reason": "undecodable"}) == 1
    assert value("posewire_frames_failed_total", {"reason": "bad-number"}) == 1
    assert value("posewire_frames_abandoned_total") == 3
    assert value("posewire_streams_closed_total", {"ending": "broken-off"}) == 1


@pytest.mark.parametrize(
    "error",
    [
        grpc.aio.InternalError("Failed to send a message"),  # the client is gone
        cygrpc._ServerStoppedError("Server already stopped."),  # with streams open, after the grace
    ],
)
async def test_a_response_that_cannot_be_sent_is_no_error_of_the_server(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    """gRPC fails the write and cancels the call, in either order."""

    def outbox(write: Callable[[track_pb2.TrackResponse], Awaitable[None]], metrics: Metrics) -> Outbox:
        async def write_too_late(response: track_pb2.TrackResponse) -> None:
            if response.HasField("failed"):
                raise error
            await write(response)

        return Outbox(write_too_late, metrics)

    monkeypatch.setattr(service, "Outbox", outbox)
    server = await PoseServer.start(server_config(), networks())
    async with connected(server.address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.send(0, b"not a picture")
        await client.failure()
    await server.stop()
    value = server.metrics.registry.get_sample_value
    assert value("posewire_streams_closed_total", {"ending": "broken-off"}) == 1
    assert value("posewire_calls_refused_total", {"reason": "internal"}) == 0
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []


async def test_how_streams_end_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="posewire_server")
    server = await PoseServer.start(server_config(), networks())
    async with connected(server.address) as stub:
        in_order, refused, too_large = (TrackClient(stub) for _ in range(3))
        for client in (in_order, refused, too_large):
            await client.open(drop_policy=ALL)
        await in_order.finish()
        await refused.call.write(track_pb2.TrackRequest())
        await refused.failure()
        await too_large.send(0, bytes(80 * 2**20))
        await too_large.failure()
    await server.stop()
    value = server.metrics.registry.get_sample_value
    counted = {each: value("posewire_streams_closed_total", {"ending": each}) for each in StreamEnding}
    assert counted == {"in-order": 1, "refused": 1, "broken-off": 1}
    lines = [json.loads(JsonFormatter().format(record)) for record in caplog.records]
    endings = {line["ending"] for line in lines if line["message"] == "stream closed"}
    assert endings == set(StreamEnding)


@pytest.mark.parametrize("method", ["Track", "EstimatePoses", "ListStreams"])
async def test_a_request_that_is_no_message_is_a_call_that_was_refused(method: str) -> None:
    server = await PoseServer.start(server_config(), networks())
    async with grpc.aio.insecure_channel(server.address) as channel:
        calls = channel.stream_unary(f"/posewire.v1.PoseTrackingService/{method}")
        with pytest.raises(grpc.aio.AioRpcError) as raised:
            await calls(iter([b"\xff\xff\xff not protobuf"]))
    await server.stop()
    assert raised.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    count = server.metrics.registry.get_sample_value("posewire_calls_refused_total", {"reason": "invalid-request"})
    assert count == 1


async def test_without_a_port_there_are_no_metrics_to_fetch(free_port: int) -> None:
    async with running_server(server_config(), networks()):
        with pytest.raises(urllib.error.URLError):
            await asyncio.to_thread(_get, free_port)


async def test_a_metrics_port_that_is_taken() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot serve metrics on 127.0.0.1:{port}"):
            await PoseServer.start(server_config(metrics_port=port), networks())


async def test_the_streams_that_are_open() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        assert not (await stub.ListStreams(List())).streams
        client = TrackClient(stub)
        started = (
            await client.open(drop_policy=ALL, name="door", tracker=settings_pb2.TrackerSettings(detect_every=3))
        ).started
        for number in range(2):
            await client.send(number, jpeg(picture(number)))
            await client.read()
        await client.send(2, b"not a picture")
        await client.read()
        (state,) = (await stub.ListStreams(List(all_callers=True))).streams
        await client.finish()
        assert not (await stub.ListStreams(List())).streams
    assert started is not None
    assert (state.stream_id, state.name, state.caller) == (started.stream_id, "door", "")
    assert (state.received, state.tracked, state.failed, state.dropped) == (3, 2, 1, 0)
    assert (state.identities, state.people, state.detect_every) == (2, 2, 3)
    assert (state.size.width, state.size.height) == (320, 240)
    assert state.tracked_fps > 0
    assert state.latency_p95_ms >= state.latency_ms > 0


async def _health(address: str, name: str) -> health_pb2.HealthCheckResponse.ServingStatus:
    async with grpc.aio.insecure_channel(address) as channel:
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service=name))
        return answer.status


class _BreaksDown(GridPose):
    broken = False

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        if self.broken:
            raise RuntimeError("out of order")
        return super().__call__(frames, boxes)


async def test_health_of_each_network() -> None:
    pose = _BreaksDown()
    async with running_server(server_config(), networks(pose=pose)) as address, connected(address) as stub:
        for name in ("", "posewire.v1.PoseTrackingService", "detector", "flow", "pose"):
            assert await _health(address, name) == SERVING
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        pose.broken = True
        for number in range(10):
            await client.send(number, jpeg(picture()))
            await client.read()
        assert len(client.answers.failed) == 10
        assert await _health(address, "pose") == NOT_SERVING
        assert await _health(address, "detector") == SERVING
        assert await _health(address, "") == SERVING  # otherwise nobody would find out that it works again
        pose.broken = False
        await client.send(10, jpeg(picture()))
        await client.finish()
        assert await _health(address, "pose") == SERVING


async def test_a_server_without_a_detector_has_no_health_of_one() -> None:
    async with running_server(server_config(), networks(detector=None)) as address:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await _health(address, "detector")
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_all_lines_of_a_stream_carry_its_id(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "posewire_server")
    lines: list[str] = []

    class Collect(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(self.format(record))  # at once, since the id belongs to the task that logs

    handler = Collect()
    handler.setFormatter(JsonFormatter())
    logging.getLogger("posewire_server").addHandler(handler)
    try:
        async with running_server(server_config(), networks(pose=ShyPose())) as address, connected(address) as stub:
            client = TrackClient(stub)
            resume = settings_pb2.ResumeRequest(token=b"forged")
            started = (await client.open(pose_pb2.CODEC_PNG, drop_policy=ALL, resume=resume)).started
            pixels = picture()
            pixels[:8, :8] = (0, 0, 255)
            await client.send(0, png(pixels))
            await client.finish()
    finally:
        logging.getLogger("posewire_server").removeHandler(handler)
    assert started is not None
    of_stream = [line for line in lines if f'"stream": "{started.stream_id}"' in line]
    for message in ("stream opened", "resume refused", "stage pose failed on a request", "stream closed"):
        assert any(message in line for line in of_stream), message


async def test_posewire_top_shows_the_streams() -> None:
    async with running_server(server_config(), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL, name="door")
        await client.send(0, jpeg(picture()))
        await client.read()
        top = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "posewire", "top", "--server", address, "--once"),
            env={**os.environ, "COLUMNS": "200"},
            stdout=asyncio.subprocess.PIPE,
        )
        output = (await top.communicate())[0].decode()
    assert top.returncode == 0
    assert f"{address}: 1 stream," in output
    assert "door all" in output
    assert "320x240" in output


async def test_ctrl_c_is_how_top_ends() -> None:
    async with running_server(server_config(), networks()) as address:
        top = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "posewire", "top", "--server", address),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        assert top.stdout is not None
        assert b"0 streams" in await top.stdout.readline()
        top.send_signal(signal.SIGINT)
        _, errors = await top.communicate()
    assert (top.returncode, errors) == (0, b"")
