"""Writes log lines in a thread of its own: a pipe whose reader is stuck delays nobody."""

from __future__ import annotations

import logging
import os
import queue
import select
import threading
from contextlib import suppress

__all__ = ["LogWriter"]

_MOST_WAITING = 10_000  # a few megabytes
_LAST_LINES_S = 1.0


class LogWriter(logging.Handler):
    """Writes to a file, pipe or terminal. Lines for which there is no room are lost, and a later line says how many.

    Args:
        descriptor: of the file. Not `sys.stderr`: the interpreter could not acquire its lock at exit.
        most_waiting: how many lines may wait.
    """

    def __init__(self, descriptor: int, most_waiting: int = _MOST_WAITING) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._most_waiting = most_waiting
        # Unlike `Queue` it may be used by a finalizer that logs in the middle of another `put`. An event is set once
        # all lines before it are written, and None ends the thread.
        self._lines: queue.SimpleQueue[bytes | threading.Event | None] = queue.SimpleQueue()
        self._lost = 0
        self._closed = False
        # A daemon: it may be stuck when the process ends.
        threading.Thread(target=self._write, name="posewire-log", daemon=True).start()

    def emit(self, record: logging.LogRecord) -> None:
        """See `logging.Handler`. The line is formatted here, in the context of what it tells about."""
        if self._lines.qsize() >= self._most_waiting:
            self._lost += 1
            return
        try:
            if self._lost:
                lost, self._lost = self._lost, 0
                text = "%d lines of this log were lost: its reader was stuck"
                self._put(logging.LogRecord(__name__, logging.WARNING, __file__, 0, text, (lost,), None))
            self._put(record)
        except Exception:  # noqa: BLE001  as the handlers of `logging` do
            self.handleError(record)

    def flush(self) -> None:
        """Wait until the lines so far are written, for at most a second."""
        if not self._closed:
            written = threading.Event()
            self._lines.put(written)
            written.wait(_LAST_LINES_S)

    def close(self) -> None:
        """End the thread, once it has written the lines so far."""
        self._closed = True
        self._lines.put(None)
        super().close()

    def _put(self, record: logging.LogRecord) -> None:
        self._lines.put((self.format(record) + "\n").encode(errors="backslashreplace"))

    def _write(self) -> None:
        while (line := self._lines.get()) is not None:
            if isinstance(line, threading.Event):
                line.set()
                continue
            with suppress(OSError):  # nobody reads it any more, or the disk is full
                while line:
                    try:
                        line = line[os.write(self._descriptor, line) :]
                    except BlockingIOError:  # another program that shares the descriptor may have made it so
                        select.select([], [self._descriptor], [])
