"""Threads for work that would hold up the event loop."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar

__all__ = ["Workers", "wait_for_last_work"]

Result = TypeVar("Result")
# How long threads are waited for that were told to end.
_LAST_WORK_S = 5.0
_Done = Callable[[Result | None, BaseException | None], None]


class Workers:
    """Some threads that take work from one queue.

    A leaner executor: each frame is handed to a thread several times, and chaining the futures of `concurrent.futures`
    to those of asyncio would double the cost of each time.

    Args:
        count: threads; they start with the first work.
        name: of the threads.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._threads: list[_Worker] = []
        self._work: SimpleQueue[tuple[Callable[[], Any], _Done[Any], asyncio.AbstractEventLoop] | None] = SimpleQueue()

    def run(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """Run `work` on a thread. A cancelled future leaves the work alone, but nobody hears of it."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        context = contextvars.copy_context()  # what the work logs is of the stream for which it is done

        def settle(result: Result | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None is a result too

        self.call(lambda: context.run(work), settle)
        return future

    def call(self, work: Callable[[], Result], done: _Done[Result]) -> None:
        """Run `work` on a thread, then `done` on the event loop, with its result or its error.

        Raises:
            RuntimeError: the system lets this process have no thread at all.
        """
        while len(self._threads) < self._count and self._start_another():
            pass
        self._work.put((work, done, asyncio.get_running_loop()))

    def close(self) -> None:
        """Let the threads end, once they are done with what they have; `wait_for_last_work` waits for that."""
        for thread in self._threads:
            thread.is_ending = True
            self._work.put(None)

    def _start_another(self) -> bool:
        """Whether there is one more thread; if the system allows no more, those that run do the work."""
        thread = _Worker(target=self._serve, name=f"{self._name}-{len(self._threads) + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
            return False
        self._threads.append(thread)
        # A thread that is still in a network when the interpreter goes down would crash.
        atexit.unregister(wait_for_last_work)
        atexit.register(wait_for_last_work)
        return True

    def _serve(self) -> None:
        """On a thread."""
        while (item := self._work.get()) is not None:
            _carry_out(*item)
            del item  # a waiting thread must not keep the last frame alive


class _Worker(threading.Thread):
    """One of them. `is_ending`: it has been told to end, and is worth waiting for."""

    is_ending = False


def wait_for_last_work() -> None:
    """Wait for the threads of all workers that were closed, for 5 s at most; then they are given up.

    Not to be called on an event loop, which would stand still.
    """
    deadline_s = time.monotonic() + _LAST_WORK_S
    for thread in threading.enumerate():
        if isinstance(thread, _Worker) and thread.is_ending:
            thread.join(max(0.0, deadline_s - time.monotonic()))
            thread.is_ending = False


def _carry_out(work: Callable[[], Result], done: _Done[Result], loop: asyncio.AbstractEventLoop) -> None:
    result, error = None, None
    try:
        result = work()
    except BaseException as raised:  # noqa: BLE001  it belongs to whoever waits for the result
        error = raised
    try:
        loop.call_soon_threadsafe(done, result, error)
    except RuntimeError:  # the loop was closed meanwhile: nobody waits any more
        return
    finally:
        # An error knows what it came through: if that knew who gets the error, they would keep each other alive.
        del work, done, result, error
