"""Threads for work that would block the event loop."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, TypeVar

from posewire._threads.own_thread import OwnThread
from posewire.errors import MisuseError
from posewire.usable_cores import usable_cores

__all__ = ["Workers"]

Result = TypeVar("Result")
_Queue: TypeAlias = "SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None]"

_MOST_THREADS = 32


class Workers:
    """Threads that take work from one queue; each is started when all others are busy.

    An executor of `concurrent.futures` would not do: Python shuts all of them down as soon as the main thread ends, and
    only then waits for the program's other threads, whose streams may still be running.

    Args:
        name: of the threads.
        most: maximum number of threads; None: a few more than there are cores.
    """

    def __init__(self, name: str, most: int | None = None) -> None:
        self._name = name
        self._most = min(_MOST_THREADS, usable_cores() + 4) if most is None else most
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
            RuntimeError: the system does not allow this process even one thread.
        """
        if self._closed:
            raise _closed_early()
        if not self._idle.acquire(blocking=False) and self._threads < self._most:
            self._start_another()
        future: Future[Result] = Future()
        self._queue.put((work, future))
        return future

    def close(self) -> None:
        """Do no more work; work that has not begun fails with `MisuseError`. Safe to call twice.

        Does not wait for anything: a thread may be stuck opening a camera.
        """
        self._closed = True
        with contextlib.suppress(Empty):
            while True:
                item = self._queue.get_nowait()
                if item is not None and item[1].set_running_or_notify_cancel():
                    item[1].set_exception(_closed_early())
        self._end_threads()

    def _end_threads(self) -> None:
        for _ in range(self._threads):
            self._queue.put(None)

    def _start_another(self) -> None:
        """Start a thread. If the system allows no more, the existing ones do the work."""
        # The thread has no reference to this object, so that `__del__` can end it even if nobody calls `close`.
        serve, end = functools.partial(_serve, self._queue, self._idle), functools.partial(self._queue.put, None)
        try:
            OwnThread(serve, f"{self._name}-{self._threads + 1}", end=end).start()
        except RuntimeError:
            if not self._threads:
                raise
        else:
            self._threads += 1


def _serve(queue: _Queue, idle: threading.Semaphore) -> None:
    """Runs in each thread."""
    while (item := queue.get()) is not None:
        _carry_out(*item)
        del item  # a waiting thread must not keep the last frame alive
        idle.release()


def _carry_out(work: Callable[[], Result], future: Future[Result]) -> None:
    if not future.set_running_or_notify_cancel():
        return
    try:
        future.set_result(work())
    except BaseException as error:  # noqa: BLE001  raised where the result is awaited
        future.set_exception(error)
    finally:
        # The error's traceback refers to this frame: with a reference to the future, they would keep each other alive.
        del work, future


def _closed_early() -> MisuseError:
    return MisuseError("the client was closed before its work was done; make another one")
