from __future__ import annotations

import asyncio

import grpc
import grpc.aio
import pytest
from grpc_health.v1 import health_pb2
from grpc_health.v1.health import aio as health
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server

from posewire_server.config import ServerConfig
from posewire_server.healthcheck import ask


async def test_no_proxy_is_asked(unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    server, servicer = grpc.aio.server(), health.HealthServicer()
    add_HealthServicer_to_server(servicer, server)
    await servicer.set("", health_pb2.HealthCheckResponse.SERVING)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    for each in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{unused_tcp_port}")
    try:
        await asyncio.to_thread(ask, ServerConfig(port=port), "", 10.0)
    finally:
        await server.stop(None)
