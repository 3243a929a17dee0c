"""An event loop in its own thread, for programs without one."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

from posewire._threads.own_thread import OwnThread, may_wait
from posewire.errors import MisuseError

__all__ = ["LoopThread"]

_log = logging.getLogger(__name__)

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for a program that is not asynchronous.

    loop = LoopThread()
    answer = loop.run(ask())
    loop.close(say_goodbye())
    """

    def __init__(self) -> None:
        self._started = threading.Event()
        self._stopped = asyncio.Event()
        self._closing = False
        # Work that was begun and has not ended. There is no lock, since a finaliser may call this class at any time.
        self._under_way: dict[Future[Any], Coroutine[Any, Any, Any]] = {}
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_on_loop_error)
        self._thread = OwnThread(self._serve, "posewire-loop", end=self._stop)
        self._thread.start()
        self._started.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end and return its result. An interrupt of the calling thread cancels it.

        Raises:
            MisuseError: the thread has ended, or ends before the work does; or this is called in the thread itself.
        """
        if threading.current_thread() is self._thread:
            work.close()
            raise MisuseError("this is the client's own thread, which cannot wait for itself; use the client elsewhere")
        return self._result_of(self._begin(work))

    def release(self, work: Coroutine[Any, Any, object]) -> None:
        """Run `work`, which releases something; does nothing after `close`, which has released everything.

        Finalisers may call this: it only waits for the end of the work if `may_wait`.
        """
        if not self.is_running:
            work.close()
            return
        with contextlib.suppress(MisuseError):  # closed meanwhile
            future = self._begin(work)
            if may_wait():
                self._result_of(future)
            else:
                future.add_done_callback(_log_failure)

    def close(self, last: Coroutine[Any, Any, object]) -> None:
        """Run `last`, cancel remaining work and end the thread. Safe to call twice. Waits as `release` does."""
        if not self.is_running:
            last.close()
            return
        with contextlib.suppress(MisuseError):  # closed meanwhile
            future = self._begin(last)
            if not may_wait():
                future.add_done_callback(_log_failure)
                future.add_done_callback(self._stop)
                return
            try:
                self._result_of(future)
            finally:
                self._stop()
                self._thread.join()

    @property
    def is_running(self) -> bool:
        """Whether work can be run."""
        return not (self._closing or sys.is_finalizing()) and self._thread.is_alive()

    def _begin(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        try:
            if not self.is_running:
                raise RuntimeError
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        except RuntimeError:  # also raised by asyncio, if the loop was closed just now
            work.close()
            raise MisuseError("the client of this call is closed, or the program ends; make another client") from None
        self._under_way[future] = work
        future.add_done_callback(self._forget)
        if self._loop.is_closed():
            self._abandon()
        return future

    def _result_of(self, future: Future[T]) -> T:
        try:
            return future.result()
        except CancelledError:
            raise MisuseError("the client of this call was closed before its end") from None
        except BaseException:
            future.cancel()
            raise
        finally:
            del future  # an error's traceback refers to this frame: they would keep each other alive

    def _forget(self, future: Future[Any]) -> None:
        self._under_way.pop(future, None)

    def _abandon(self) -> None:
        """Cancel work that came too late for the loop and will never run, so that nobody waits for it."""
        for future, work in self._under_way.copy().items():
            work.close()
            future.cancel()

    def _stop(self, _: object = None) -> None:
        self._closing = True
        with contextlib.suppress(RuntimeError):  # closed already
            self._loop.call_soon_threadsafe(self._stopped.set)

    # -- the thread ----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.call_soon(self._started.set)
            self._loop.run_until_complete(self._stopped.wait())
            self._cancel_tasks()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._cancel_tasks()  # of work submitted meanwhile
        finally:
            self._loop.close()
            self._abandon()

    def _cancel_tasks(self) -> None:
        while tasks := asyncio.all_tasks(self._loop):
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))


def _log_failure(future: Future[Any]) -> None:
    if not future.cancelled() and (error := future.exception()) is not None:
        _log.warning("a stream or client could not be closed in order", exc_info=error)


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Suppress false alarms: with several loops in a process, gRPC wakes all of them and only one finds the event.

    The event may also belong to a loop that was closed meanwhile.
    """
    handle, error = repr(context.get("handle", "")), context.get("exception")
    if "PollerCompletionQueue" in handle and (isinstance(error, BlockingIOError) or "loop is closed" in str(error)):
        return
    loop.default_exception_handler(context)
