"""Threads for work that would hold up the event loop."""

from __future__ import annotations

import contextlib
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

from posewire._threads import OwnThread
from posewire.errors import MisuseError

__all__ = ["Workers"]

Result = TypeVar("Result")
_Queue: TypeAlias = "SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]"

_MOST_THREADS = min(32, (os.cpu_count() or 1) + 4)


class Workers:
    """Threads that take work from one queue; each starts when all others are busy.

    An executor of `concurrent.futures` would not do: Python shuts all of them down as soon as the main thread is at its
    end, and only then waits for the program's other threads, whose streams go on.

    Args:
        name: of the threads.
        most: threads.
    """

    def __init__(self, name: str, most: int = _MOST_THREADS) -> None:
        self._name = name
        self._most = most
        self._threads = 0
        self._closed = False
        self._queue: _Queue = SimpleQueue()
        self._idle = threading.Semaphore(0)

    def __del__(self) -> None:
        self._end_threads()

    def submit(self, work: Callable[[], Result]) -> Future[Result]:
        """Do `work` on a thread.

        Raises:
            MisuseError: the workers are closed.
            RuntimeError: the system lets this process have no thread at all.
        """
        if self._closed:
            raise _closed()
        if not self._idle.acquire(blocking=False) and self._threads < self._most:
            self._start_another()
        future: Future[Result] = Future()
        self._queue.put((work, future))
        return future

    def close(self) -> None:
        """Do no more work; what has not begun fails with `MisuseError`. Safe to call twice.

        Nothing is waited for: a thread may be stuck in a camera that does not open.
        """
        self._closed = True
        with contextlib.suppress(Empty):
            while True:
                item = self._queue.get_nowait()
                if item is not None and item[1].set_running_or_notify_cancel():
                    item[1].set_exception(_closed())
        self._end_threads()

    def _end_threads(self) -> None:
        for _ in range(self._threads):
            self._queue.put(None)

    def _start_another(self) -> None:
        """If the system allows no more threads, those that run do the work."""
        # The thread does not know this object, so that it ends with it even if nobody closes it.
        serve, end = functools.partial(_serve, self._queue, self._idle), functools.partial(self._queue.put, None)
        try:
            OwnThread(serve, f"{self._name}-{self._threads + 1}", end=end).start()
        except RuntimeError:
            if not self._threads:
                raise
        else:
            self._threads += 1


def _serve(queue: _Queue, idle: threading.Semaphore) -> None:
    """On a thread."""
    while (item := queue.get()) is not None:
        _carry_out(*item)
        del item  # a waiting thread must not keep the last frame alive
        idle.release()


def _carry_out(work: Callable[[], Result], future: Future[Result]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001  it belongs to whoever waits for the result
        future.set_exception(error)
    finally:
        # An error knows what it came through: if that knew who gets the error, they would keep each other alive.
        del work, future


def _closed() -> MisuseError:
    return MisuseError("the client was closed before its work was done; make another one")
