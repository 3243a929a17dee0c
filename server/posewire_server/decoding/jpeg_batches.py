"""The GPU's JPEG decoder, shared by all decoding threads: concurrent requests are decoded in one batch."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence
from queue import Empty, SimpleQueue

from torch import Tensor

__all__ = ["JpegBatches"]

log = logging.getLogger(__name__)

_LAST_WORK_S = 5.0
_LOOK_EVERY_S = 1.0


class _Request:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.pixels: Tensor | None = None
        self.done = threading.Event()


class JpegBatches:
    """Decodes batches on a thread of its own.

    The decoder's several engines share the pictures of one call. Pictures that come while a call runs are decoded by
    the next one.

    Args:
        decode: takes pictures and returns as many tensors; fails as a whole if it cannot decode one of them.
        max_batch: maximum number of pictures per call.
    """

    def __init__(self, decode: Callable[[Sequence[bytes]], list[Tensor]], max_batch: int = 32) -> None:
        self._decode = decode
        self._max_batch = max_batch
        self._waiting: SimpleQueue[_Request | None] = SimpleQueue()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="posewire-nvjpeg", daemon=True)
        self._thread.start()

    def decode(self, data: bytes) -> Tensor | None:
        """Pixels of one picture, `(h, w, 3)` on the GPU; None if the GPU cannot decode it. Blocks until then."""
        if self._closed:
            return None
        request = _Request(data)
        self._waiting.put(request)
        while not request.done.wait(_LOOK_EVERY_S):
            if not self._thread.is_alive():  # the thread ended before it saw the request
                return None
        return request.pixels

    def close(self) -> None:
        """Refuse new requests, and end the thread."""
        self._closed = True
        self._waiting.put(None)
        self._thread.join(_LAST_WORK_S)

    def _serve(self) -> None:
        while self._serve_once():  # a separate function, so that a waiting thread does not keep the last pictures alive
            pass
        while not self._waiting.empty():
            if (request := self._waiting.get()) is not None:
                request.done.set()

    def _serve_once(self) -> bool:
        """Wait for requests and decode one batch. Returns whether there may be more."""
        batch = [self._waiting.get()]
        while len(batch) < self._max_batch:
            try:
                batch.append(self._waiting.get_nowait())
            except Empty:
                break
        self._run([request for request in batch if request is not None])
        return None not in batch

    def _run(self, batch: list[_Request]) -> None:
        try:
            self._fill(batch)
        finally:
            for request in batch:
                request.done.set()

    def _fill(self, batch: list[_Request]) -> None:
        if not batch:
            return
        try:
            pixels = self._decode([request.data for request in batch])
        except Exception as error:  # noqa: BLE001  the CPU then decodes them, and reports what is wrong
            if len(batch) == 1:
                log.debug("the GPU does not decode a JPEG: %s", error)
                return
            # One of them is at fault; the others must not fail with it.
            for request in batch:
                self._fill([request])
            return
        for request, each in zip(batch, pixels, strict=True):
            request.pixels = each
