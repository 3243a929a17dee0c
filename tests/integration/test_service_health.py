"""The standard health service of a real server: checks, watches, and watches that do harm."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2_grpc import HealthStub

from posewire_server.observability import health
from posewire_server.observability.health import HealthService
from posewire_server.server import PoseServer
from tests.integration.raw_http2 import raw_call
from tests.integration.service_calls import server_config
from tests.integration.test_service_errors import details
from tests.server.stand_ins import networks

Request = health_pb2.HealthCheckRequest
Answer = health_pb2.HealthCheckResponse
_WATCH = "/grpc.health.v1.Health/Watch"


@asynccontextmanager
async def _asked() -> AsyncIterator[tuple[PoseServer, HealthStub]]:
    """A server and a client of its health service; the server is stopped at the end, if it was not before."""
    server = await PoseServer.start(server_config(drain_grace_s=0.1), networks())
    options = [("grpc.use_local_subchannel_pool", 1)]
    try:
        async with grpc.aio.insecure_channel(server.address, options=options) as channel, asyncio.timeout(60):
            yield server, HealthStub(channel)
    finally:
        await server.stop()


async def test_a_service_that_comes_later() -> None:
    async with _asked() as (server, stub):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Check(Request(service="late"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = stub.Watch(Request(service="late"))
        assert (await watch.read()).status == Answer.SERVICE_UNKNOWN
        server._health.set("late", Answer.SERVING)
        assert (await watch.read()).status == Answer.SERVING
        assert (await stub.Check(Request(service="late"))).status == Answer.SERVING


async def test_each_change_is_told_once_and_none_after_the_end() -> None:
    async with _asked() as (server, stub):
        watch = stub.Watch(Request(service="pose"))
        assert (await watch.read()).status == Answer.SERVING
        server._health.set("pose", Answer.SERVING)  # as it was
        server._health.set("flow", Answer.NOT_SERVING)  # another one's
        server._health.set("pose", Answer.NOT_SERVING)
        assert (await watch.read()).status == Answer.NOT_SERVING
        server._health.set("pose", Answer.SERVING)
        assert (await watch.read()).status == Answer.SERVING
        server._health.enter_graceful_shutdown()
        assert (await watch.read()).status == Answer.NOT_SERVING
        server._health.set("pose", Answer.SERVING)
        assert (await stub.Check(Request(service="pose"))).status == Answer.NOT_SERVING


async def test_the_end_of_a_watch_is_nothing_to_the_others() -> None:
    async with _asked() as (server, stub):
        watch, other = stub.Watch(Request()), stub.Watch(Request())
        assert (await watch.read()).status == (await other.read()).status == Answer.SERVING
        other.cancel()
        while server._health._watches.total() > 1:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
        server._health.enter_graceful_shutdown()
        assert (await watch.read()).status == Answer.NOT_SERVING


async def test_a_watch_that_nobody_reads_holds_up_neither_others_nor_the_end() -> None:
    async with _asked() as (server, stub), raw_call(server.port, _WATCH, window=0) as unread:
        await unread.began.wait()
        watch = stub.Watch(Request())
        assert (await watch.read()).status == Answer.SERVING
        stopping = asyncio.create_task(server.stop())
        assert (await watch.read()).status == Answer.NOT_SERVING
        await stopping
        assert server._drain


async def test_a_watch_that_nobody_reads_gives_its_place_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_STALL_S", 0.05)
    async with _asked() as (server, stub), raw_call(server.port, _WATCH, window=0) as unread:
        await unread.began.wait()
        while server._health._watches:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
        assert (await stub.Check(Request())).status == Answer.SERVING
    count = server.metrics.registry.get_sample_value("posewire_calls_refused_total", {"reason": "stalled"})
    assert count == 1


async def test_so_many_watches_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_MOST_WATCHES", 4)  # and of one host half
    async with _asked() as (server, stub):
        watches = [stub.Watch(Request()) for _ in range(2)]
        for watch in watches:
            assert (await watch.read()).status == Answer.SERVING
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.Watch(Request()).read()
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert details(caught.value)[0] == "LIMIT_REACHED"
        assert "half of that for one host" in str(caught.value.details())
        assert (await stub.Check(Request())).status == Answer.SERVING
        watches[0].cancel()
        while server._health._watches.total() > 1:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
        assert (await stub.Watch(Request()).read()).status == Answer.SERVING


def test_every_method_of_the_health_service_is_there() -> None:
    """A server does not start without one, and newer versions of `grpc_health` have more of them."""
    methods = {name for name in vars(health_pb2_grpc.HealthServicer) if not name.startswith("_")}
    assert methods >= {"Check", "Watch"}
    assert methods <= set(dir(HealthService))


@pytest.mark.skipif(
    not hasattr(health_pb2, "HealthListResponse"), reason="needs a grpc_health with List, 1.72 or newer"
)
async def test_all_services_are_listed() -> None:
    service = HealthService()
    service.set("", health_pb2.HealthCheckResponse.SERVING)
    service.set("pose", health_pb2.HealthCheckResponse.NOT_SERVING)
    listed = await service.List(health_pb2.HealthListRequest(), None)  # type: ignore[arg-type]
    assert {name: each.status for name, each in listed.statuses.items()} == {"": 1, "pose": 2}
