"""Calls that no gRPC client would make, from hand-written HTTP/2 frames."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

__all__ = ["RawCall", "raw_call"]

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_DATA, _HEADERS, _SETTINGS, _PING = 0, 1, 4, 6
_END_STREAM, _END_HEADERS, _ACK = 1, 4, 1
_INITIAL_WINDOW_SIZE = 4


class RawCall:
    """The one call of a connection.

    Attributes:
        began: set when the server has sent anything in reply.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.began = asyncio.Event()

    async def open(self, method: str, message: bytes, window: int, announced: int) -> None:
        """Call `method` with a message of `announced` bytes; the server may send `window` bytes of messages."""
        self._writer.write(_PREFACE)
        self._send(_SETTINGS, 0, 0, struct.pack(">HI", _INITIAL_WINDOW_SIZE, window))
        headers = {
            b":method": b"POST",
            b":scheme": b"http",
            b":path": method.encode("latin-1"),  # any bytes
            b":authority": b"raw",
            b"te": b"trailers",
            b"content-type": b"application/grpc",
        }
        fields = (b"\0%c%b%c%b" % (len(name), name, len(value), value) for name, value in headers.items())
        self._send(_HEADERS, _END_HEADERS, 1, b"".join(fields))
        end = _END_STREAM if announced == len(message) else 0
        self._send(_DATA, end, 1, b"\0" + struct.pack(">I", announced) + message)
        await self._writer.drain()

    async def listen(self) -> None:
        """Reply as HTTP/2 requires, and record how the call ends."""
        while True:
            header = await self._reader.readexactly(9)
            kind, flags = header[3], header[4]
            payload = await self._reader.readexactly(int.from_bytes(header[:3]))
            if kind in (_SETTINGS, _PING) and not flags & _ACK:
                self._send(kind, _ACK, 0, payload if kind == _PING else b"")
            if kind == _HEADERS:
                self.began.set()

    def _send(self, kind: int, flags: int, stream: int, payload: bytes) -> None:
        self._writer.write(struct.pack(">I", len(payload))[1:] + struct.pack(">BBI", kind, flags, stream) + payload)


@asynccontextmanager
async def raw_call(
    port: int, method: str, message: bytes = b"", *, announced: int | None = None, window: int = 65535
) -> AsyncIterator[RawCall]:
    """A call with one request, on its own connection; if more bytes are `announced`, the request stays incomplete."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    call = RawCall(reader, writer)
    listening = asyncio.create_task(call.listen())
    try:
        await call.open(method, message, window, len(message) if announced is None else announced)
        yield call
    finally:
        listening.cancel()
        await asyncio.wait({listening})
        writer.close()
