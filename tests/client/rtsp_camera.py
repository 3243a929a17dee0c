"""A camera that speaks RTSP over TCP: just enough for FFmpeg, and for what cameras refuse."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket
import struct
import threading
from collections.abc import Iterator

__all__ = ["RtspCamera"]

_SDP = "v=0\r\no=- 0 0 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\nm=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\n"


class RtspCamera:
    """Serves one client: plays H.264 packets at ten frames a second by their time stamps, all at once, then waits.

    Args:
        packets: access units in Annex B format.
        refused: a method, or a transport of SETUP, and the status with which it is refused.

    Attributes:
        transports: those that the client asked for, one after another.
    """

    def __init__(self, packets: list[bytes], *, refused: tuple[str, str] = ("nothing", "")) -> None:
        self._packets = packets
        self._refused = refused
        self._go_on = threading.Event()
        self.transports: list[str] = []

    def go_on(self) -> None:
        """Play the packets again."""
        self._go_on.set()

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        """The address while it is on."""
        with socket.create_server(("127.0.0.1", 0)) as server:
            thread = threading.Thread(target=self._serve, args=(server,))
            thread.start()
            try:
                yield f"127.0.0.1:{server.getsockname()[1]}/1"
            finally:
                server.shutdown(socket.SHUT_RDWR)
                self._go_on.set()
                thread.join(5)
                assert not thread.is_alive()

    def _serve(self, server: socket.socket) -> None:
        with contextlib.suppress(OSError), server.accept()[0] as client, client.makefile("rb") as requests:
            while head := requests.readline().decode().split():
                fields = dict(line.split(": ", 1) for line in iter(lambda: requests.readline().decode().strip(), ""))
                transport = fields.get("Transport", "")
                self.transports += [transport] if transport else []
                name, status = self._refused
                if name not in (head[0], transport.split(";")[0]):
                    status = "200 OK"
                body = _SDP if head[0] == "DESCRIBE" and status == "200 OK" else ""
                answer = f"RTSP/1.0 {status}\r\nCSeq: {fields['CSeq']}\r\nSession: 1\r\nTransport: {transport}\r\n"
                kind = "Content-Type: application/sdp\r\n" if body else ""
                client.sendall(f"{answer}{kind}Content-Length: {len(body)}\r\n\r\n{body}".encode())
                if head[0] == "PLAY":
                    client.sendall(b"".join(self._interleaved(0)))
                    self._go_on.wait(20)
                    client.sendall(b"".join(self._interleaved(len(self._packets))))

    def _interleaved(self, first: int) -> Iterator[bytes]:
        sequence = itertools.count(100 * first)
        for number, packet in enumerate(self._packets, first):
            units = [unit for unit in re.split(rb"\x00?\x00\x00\x01", packet) if unit]
            for unit in units:
                mark = 0x80 if unit is units[-1] else 0
                rtp = struct.pack(">BBHII", 0x80, mark | 96, next(sequence) & 0xFFFF, 9000 * number, 1) + unit
                yield struct.pack(">BBH", 0x24, 0, len(rtp)) + rtp
