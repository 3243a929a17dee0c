"""Runs a server with other networks than those of its bundle."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Callable

from posewire_server.config import ServerConfig
from posewire_server.configuration import load_config
from posewire_server.inference.networks import Networks
from posewire_server.observability.logs import set_up_logging
from posewire_server.process import write_port
from posewire_server.server import running_server

__all__ = ["serve"]


def serve(networks_of: Callable[[ServerConfig], Networks]) -> None:
    """Serve until standard input ends. Settings are read from the environment, as in any server.

    Args:
        networks_of: makes the networks; called on a thread.
    """
    config = load_config(environment=os.environ)
    set_up_logging(config.log_level, config.log_format)
    asyncio.run(_serve(config, networks_of))


async def _serve(config: ServerConfig, networks_of: Callable[[ServerConfig], Networks]) -> None:
    networks = await asyncio.to_thread(networks_of, config)
    async with running_server(config, networks) as address:
        if config.port_file is not None:
            write_port(config.port_file, int(address.rpartition(":")[2]))
        await asyncio.to_thread(sys.stdin.buffer.read)
