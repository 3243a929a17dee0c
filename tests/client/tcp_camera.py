"""A camera at a TCP address."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

__all__ = ["hung_up_camera"]


@contextlib.contextmanager
def hung_up_camera(*videos: bytes) -> Iterator[str]:
    """The address of a camera that plays one video to each client and then hangs up; after the last it is off."""
    server = socket.create_server(("127.0.0.1", 0))

    def play() -> None:
        with server:
            for video in videos:
                with server.accept()[0] as client, contextlib.suppress(OSError):
                    client.sendall(video)

    thread = threading.Thread(target=play, daemon=True)  # a test may fail before the last client
    thread.start()
    yield f"tcp://127.0.0.1:{server.getsockname()[1]}"
    thread.join(10)
    assert not thread.is_alive()
