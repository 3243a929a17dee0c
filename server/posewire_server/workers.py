"""Threads for work that would block the event loop."""

from __future__ import annotations

import asyncio
import atexit
import contextvars
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, TypeVar, cast

from posewire_server.first_of import one_ended

__all__ = ["Workers", "threads_at_work", "wait_for_last_work"]

Result = TypeVar("Result")
# How long to wait for threads that were told to end.
_LAST_WORK_S = 5.0
_Done = Callable[[Result | None, BaseException | None], None]


class Workers:
    """Threads that take work from one queue.

    A leaner executor: each frame is handed to a thread several times, and chaining the futures of `concurrent.futures`
    to those of asyncio would double the cost of each handover.

    Args:
        count: number of threads; they start with the first work.
        name: of the threads.
    """

    def __init__(self, count: int, name: str) -> None:
        self._count = count
        self._name = name
        self._threads: list[_Worker] = []
        self._work: SimpleQueue[tuple[Callable[[], Any], _Done[Any], asyncio.AbstractEventLoop] | None] = SimpleQueue()

    def run(self, work: Callable[[], Result]) -> asyncio.Future[Result]:
        """Run `work` on a thread. Cancelling the future does not stop the work; its result is discarded."""
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        context = contextvars.copy_context()  # log lines of the work carry its stream's id

        def settle(result: Result | None, error: BaseException | None) -> None:
            if future.done():
                return
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)  # type: ignore[arg-type]  # None is a result too

        self.call(lambda: context.run(work), settle)
        return future

    async def run_to_end(self, work: Callable[[], Result]) -> Result:
        """The result of `work`, run on a thread. If this is cancelled, it still ends only after the work.

        Unless it is cancelled again, as when the event loop ends: the work may never end.
        """
        running = self.run(work)
        try:
            await one_ended(running)
        except asyncio.CancelledError:
            try:
                await one_ended(running)
            finally:
                running.cancel()  # nobody else looks at an error of the work
            raise
        return running.result()

    def call(self, work: Callable[[], Result], done: _Done[Result]) -> None:
        """Run `work` on a thread, then `done` on the event loop, with its result or its error.

        Raises:
            RuntimeError: the system does not let this process start even one thread.
        """
        while len(self._threads) < self._count and self._start_another():
            pass
        self._work.put((work, done, asyncio.get_running_loop()))

    def close(self) -> None:
        """Let the threads end once they have finished the queued work; `wait_for_last_work` waits for that."""
        for thread in self._threads:
            thread.is_ending = True
            self._work.put(None)

    def _start_another(self) -> bool:
        """Start a thread; False if the system allows no more, in which case the running ones do the work."""
        thread = _Worker(target=self._serve, name=f"{self._name}-{len(self._threads) + 1}", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
            return False
        self._threads.append(thread)
        # A thread that is still inside a network when the interpreter shuts down would crash.
        atexit.unregister(wait_for_last_work)
        atexit.register(wait_for_last_work)
        return True

    def _serve(self) -> None:
        """Runs on each thread."""
        thread = cast(_Worker, threading.current_thread())
        while (item := self._work.get()) is not None:
            thread.begun += 1
            thread.is_at_work = True
            _carry_out(*item)
            thread.is_at_work = False
            del item  # a waiting thread must not keep the last frame alive


class _Worker(threading.Thread):
    """A thread of `Workers`.

    Attributes:
        is_ending: it has been told to end, so it can be waited for.
        is_at_work: whether it is carrying out a piece of work.
        begun: how many pieces it has begun.
    """

    is_ending = False
    is_at_work = False
    begun = 0


def threads_at_work() -> list[tuple[threading.Thread, int]]:
    """The threads of all workers that are at work, each with how many pieces of work it has begun."""
    workers = [thread for thread in threading.enumerate() if isinstance(thread, _Worker)]
    return [(thread, thread.begun) for thread in workers if thread.is_at_work]


def wait_for_last_work() -> None:
    """Wait for the threads of all closed workers, for at most 5 s; then give up.

    It blocks: do not call it on an event loop.
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
    except BaseException as raised:  # noqa: BLE001  passed on to the code that waits for the result
        error = raised
    try:
        loop.call_soon_threadsafe(done, result, error)
    except RuntimeError:  # the loop was closed meanwhile: nobody waits for the result
        return
    finally:
        # An error refers to this frame through its traceback: if the frame also referred to the error, or to what
        # receives it, they would keep each other alive.
        del work, done, result, error
