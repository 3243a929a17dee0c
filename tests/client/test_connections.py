"""What calls to a server need: its address, and what it is shown."""

from __future__ import annotations

from typing import Any

import pytest

from posewire import AsyncClient


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
async def test_a_server_of_this_machine_is_reached_without_a_proxy(
    serve: Any, variable: str, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    for each in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, f"http://127.0.0.1:{unused_tcp_port}")
    async with AsyncClient(server.address, timeout_s=10) as client:
        assert (await client.server_info()).version == "9.9"
