"""A web server of files, of which some have no length, as what a camera gives."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

__all__ = ["served"]


class _Handler(SimpleHTTPRequestHandler):
    """It knows no ranges: a file can only be read from its beginning."""

    protocol_version = "HTTP/1.1"

    def __init__(self, *args: Any, asked: list[str], **options: Any) -> None:
        self._asked = asked
        super().__init__(*args, **options)

    def handle(self) -> None:
        with contextlib.suppress(ConnectionError):  # a client takes as much as it wants
            super().handle()

    def do_GET(self) -> None:
        self._asked.append(self.path)
        super().do_GET()

    def send_header(self, keyword: str, value: str) -> None:
        if keyword == "Content-Length" and self._is_endless():
            keyword, value = "Transfer-Encoding", "chunked"
        elif keyword == "Content-Length" and "?closed" in self.path:
            keyword, value = "Connection", "close"
        super().send_header(keyword, value)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if not self._is_endless():
            super().copyfile(source, outputfile)
            return
        while chunk := source.read(10_000):
            outputfile.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if "?silent" in self.path:
            self.connection.settimeout(3)
            try:
                self.connection.recv(1)  # until the client goes away
            except TimeoutError:
                self._asked.append("still there after 3 s of silence")
        outputfile.write(b"0\r\n\r\n")

    def _is_endless(self) -> bool:
        return self.path.endswith(("?endless", "?silent"))

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def served(folder: Path, asked: list[str] | None = None) -> Iterator[str]:
    """The address of a folder; `asked` gets the paths of all requests.

    Instead of a length, a file has its end marked with `?endless`; with `?closed` only the closing connection shows it;
    and with `?silent` nothing comes after it for 3 s, after which `asked` says so.
    """
    handler = partial(_Handler, directory=str(folder), asked=[] if asked is None else asked)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(5)
            assert not thread.is_alive()
