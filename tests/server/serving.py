"""Servers with stand-ins for networks, in a thread of the test's own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from posewire_server.config import ServerConfig
from posewire_server.inference.networks import Networks
from posewire_server.server import running_server

__all__ = ["serving"]


@contextmanager
def serving(stand_ins: Networks, config: ServerConfig | None = None) -> Iterator[str]:
    """A server; gives its address."""
    config = config or ServerConfig(port=0, drain_grace_s=5.0)
    ready: list[str] = []
    up, down = threading.Event(), asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        async with running_server(config, stand_ins) as address:
            ready.append(address)
            up.set()
            await down.wait()

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),))
    thread.start()
    try:
        assert up.wait(60)
        yield ready[0]
    finally:
        loop.call_soon_threadsafe(down.set)
        thread.join()
        loop.close()
