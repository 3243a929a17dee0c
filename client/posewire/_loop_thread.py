"""An event loop in a thread of its own, for programs without one."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from concurrent.futures import CancelledError
from typing import Any, TypeVar

from posewire.errors import MisuseError

__all__ = ["LoopThread"]

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for a program that is not asynchronous.

    with LoopThread() as loop:
        answer = loop.run(ask())
    """

    def __init__(self) -> None:
        started = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(_on_loop_error)
        self._thread = threading.Thread(target=self._serve, args=(started,), name="posewire-loop", daemon=True)
        self._thread.start()
        started.wait()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` to its end and give its result. An interrupt of the calling thread cancels it.

        Raises:
            MisuseError: the thread has ended, or ends before the work does.
        """
        if not self.is_running:
            work.close()
            raise MisuseError("the client of this call is closed; make another one")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            raise MisuseError("the client of this call was closed before its end") from None
        except BaseException:
            future.cancel()
            raise

    @property
    def is_running(self) -> bool:
        """Whether work can be done."""
        return self._thread.is_alive() and not self._loop.is_closed()

    def close(self) -> None:
        """Cancel what still runs and end the thread. Safe to call twice."""
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()

    def _serve(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.call_soon(started.set)
            self._loop.run_forever()
        finally:
            tasks = asyncio.all_tasks(self._loop)
            for task in tasks:
                task.cancel()
            self._loop.run_until_complete(asyncio.gather(*tasks, return_exceptions=True))
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.run_until_complete(self._loop.shutdown_default_executor())
            self._loop.close()


def _on_loop_error(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Leave out a false alarm: with several loops in a process, gRPC wakes all of them and only one finds the event."""
    handle = repr(context.get("handle", ""))
    if isinstance(context.get("exception"), BlockingIOError) and "PollerCompletionQueue" in handle:
        return
    loop.default_exception_handler(context)
