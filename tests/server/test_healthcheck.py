from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from posewire_server.config import ServerConfig
from posewire_server.healthcheck import UnhealthyError, ask


@asynccontextmanager
async def _healthy() -> AsyncIterator[ServerConfig]:
    """A server that has nothing but the health service, and the settings of one at its address."""
    server, servicer = grpc.aio.server(), health.HealthServicer()
    add_HealthServicer_to_server(servicer, server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield ServerConfig(port=port)
    finally:
        await server.stop(None)


async def test_no_proxy_is_asked(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for each in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_tcp_port}")
    async with _healthy() as config:
        await asyncio.to_thread(ask, config, "", 10.0)


async def test_a_network_that_a_server_does_not_have_is_named() -> None:
    async with _healthy() as config:
        with pytest.raises(UnhealthyError, match=r"has no network 'teapot' .*; ask for detector, flow or pose"):
            await asyncio.to_thread(ask, config, "teapot", 10.0)
