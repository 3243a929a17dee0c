"""A line between client and server that a test can spoil: it delays, cuts and corrupts what passes."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

__all__ = ["Proxy", "spoilt_line"]

_CHUNK = 16 * 1024


class Proxy:
    """A TCP proxy with faults.

    Args:
        target: `host:port` of the server.
        chance: decides when a fault happens.

    Attributes:
        address: where clients connect.
        delay_s: longest delay of a chunk.
        corrupts: one chunk in so many has a bit changed; 0: none.
        faults: how many there were.
    """

    def __init__(self, target: str, chance: random.Random) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self._chance = chance
        self._lines: set[asyncio.Task[None]] = set()
        self._generation = 0
        self._server: asyncio.Server | None = None
        self.address = ""
        self.delay_s = 0.0
        self.corrupts = 0
        self.faults = 0

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def close(self) -> None:
        if self._server is not None:
            self._server.close()
        self.cut()
        await asyncio.gather(*self._lines, return_exceptions=True)

    def cut(self) -> None:
        """Break all connections that there are."""
        self.faults += len(self._lines)
        for line in self._lines:
            line.cancel()

    def pull_the_cable(self) -> None:
        """Nothing passes any more on the connections that there are, and nobody is told; new ones work."""
        self.faults += len(self._lines)
        self._generation += 1

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.ensure_future(self._join(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)
        with suppress(asyncio.CancelledError):
            await line

    async def _join(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        writers = [to_client]
        try:
            from_server, to_server = await asyncio.open_connection(self._host, self._port)
            writers.append(to_server)
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass_on(from_client, to_server))
                both.create_task(self._pass_on(from_server, to_client))
        except* OSError:  # either side has closed it
            pass
        finally:
            for writer in writers:
                writer.transport.abort()

    async def _pass_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        generation = self._generation
        while data := await reader.read(_CHUNK):
            if self.delay_s:
                await asyncio.sleep(self._chance.uniform(0, self.delay_s))
            if self.corrupts and self._chance.randrange(self.corrupts) == 0:
                data = self._corrupted(data)
            if generation != self._generation:
                await asyncio.Event().wait()
            writer.write(data)
            await writer.drain()
        raise ConnectionResetError("one side has closed the connection")

    def _corrupted(self, data: bytes) -> bytes:
        self.faults += 1
        spoilt = bytearray(data)
        spoilt[self._chance.randrange(len(spoilt))] ^= 1 << self._chance.randrange(8)
        return bytes(spoilt)


@asynccontextmanager
async def spoilt_line(target: str, seed: int = 0) -> AsyncIterator[Proxy]:
    """A proxy that runs as long as the block does; without faults at first."""
    proxy = Proxy(target, random.Random(seed))
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.close()
