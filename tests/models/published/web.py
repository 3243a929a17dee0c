"""A web server for files, on a free local port, as well or badly behaved as a test wants it."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import ClassVar

__all__ = ["Web", "running_web"]


@dataclass
class Web:
    """What the server has and how it behaves.

    Attributes:
        files: path -> content.
        versions: path -> ETag; a file without has none.
        ranges: whether it knows about ranges.
        conditions: whether it heeds If-Range.
        cut_after: bytes of a body after which it hangs up, once for each entry.
        answers: status that it gives in place of an answer, once for each entry.
        raw: bytes that it sends in place of anything of HTTP, once for each entry.
        redirects: path -> where it sends one on to.
        redirect_body: what it sends along with that; its request gets the entry `whole` if it was all taken.
        length_told: whether it tells the length of what comes.
        total_told: whether it tells the length of the whole file with a part of it.
        most_of_a_range: bytes that it sends in answer to a range, whatever was asked for.
        chunked: whether it sends bodies as chunks of a megabyte, without their length.
        headers: header -> what it says there, of whatever it sends.
        requests: the headers of all requests, with their path under `path`.
        port: where it listens.
    """

    files: dict[str, bytes] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    ranges: bool = True
    conditions: bool = True
    cut_after: list[int] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)
    raw: list[bytes] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    redirect_body: bytes = b""
    length_told: bool = True
    total_told: bool = True
    most_of_a_range: int = 1 << 40
    chunked: bool = False
    headers: dict[str, str] = field(default_factory=dict)
    requests: list[dict[str, str]] = field(default_factory=list)
    port: int = 0

    def address(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}{path}"

    @property
    def asked_ranges(self) -> list[str]:
        return [request.get("Range", "") for request in self.requests]


@contextmanager
def running_web() -> Iterator[Web]:
    web = Web()

    class Handler(_Handler):
        served = web

    class Server(ThreadingHTTPServer):
        def handle_error(self, *_: object) -> None:
            pass  # a client that has seen enough hangs up

    server = Server(("127.0.0.1", 0), Handler)
    web.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    served: ClassVar[Web]

    def do_GET(self) -> None:
        web = self.served
        web.requests.append({"path": self.path, **dict(self.headers)})
        if web.raw:
            self.wfile.write(web.raw.pop(0))
        elif web.answers:
            self.send_error(web.answers.pop(0))
        elif self.path in web.redirects:
            self.send_response(302)
            self.send_header("Location", web.redirects[self.path])
            self.end_headers()
            request = web.requests[-1]
            self.wfile.write(web.redirect_body)
            request["whole"] = "yes"
        elif self.path not in web.files:
            self.send_error(404)
        else:
            self._send(web.files[self.path], web.versions.get(self.path))

    def _send(self, content: bytes, version: str | None) -> None:
        web = self.served
        asked = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range") if web.conditions else None
        start = int(asked[1]) if asked and web.ranges and condition in (None, version) else None
        if start is not None and start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.end_headers()
            return
        body = content if start is None else content[start : start + web.most_of_a_range]
        headers = {}
        if start is not None:
            total = str(len(content)) if web.total_told else "*"
            headers["Content-Range"] = f"bytes {start}-{start + len(body) - 1}/{total}"
        if version is not None:
            headers["ETag"] = version
        if web.chunked:
            headers["Transfer-Encoding"] = "chunked"
            body = (
                b"".join(_chunk(body[first : first + (1 << 20)]) for first in range(0, len(body), 1 << 20)) + _chunk()
            )
        elif web.length_told:
            headers["Content-Length"] = str(len(body))
        self.send_response(200 if start is None else 206)
        for name, value in (headers | web.headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body[: web.cut_after.pop(0)] if web.cut_after else body)

    def log_message(self, *_: object) -> None:
        pass


def _chunk(content: bytes = b"") -> bytes:
    return b"%x\r\n%b\r\n" % (len(content), content)
