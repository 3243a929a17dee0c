"""A thread of the SDK, and which code may wait for one."""

from __future__ import annotations

import atexit
import functools
import gc
import sys
import threading
import time
from collections.abc import Callable

__all__ = ["OwnThread", "may_wait"]

# Ids of the threads in which Python's cycle collector is running.
_collecting: set[int] = set()
# How long the interpreter waits for all threads together when it exits.
_EXIT_S = 2.0


class OwnThread(threading.Thread):
    """A daemon thread of the SDK. A loop of the SDK may wait for it, or for a lock that it holds.

    Args:
        target: what it runs.
        name: of the thread.
        end: makes it end soon; called when the interpreter exits, which then waits for it briefly.
    """

    def __init__(self, target: Callable[[], object], name: str, *, end: Callable[[], object]) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self.end = end

    def start(self) -> None:
        """Start the thread, as `threading.Thread.start`."""
        _prepare()
        super().start()


def may_wait() -> bool:
    """Whether the current thread may wait for a loop of the SDK to release something.

    The caller may be a finaliser. The cycle collector runs these at any point of any thread: the thread may hold locks
    that the loop needs, or may be starting while the loop waits for that.
    """
    if sys.is_finalizing() or threading.get_ident() in _collecting:
        return False
    return not isinstance(threading.current_thread(), OwnThread)


@functools.cache
def _prepare() -> None:
    gc.callbacks.append(_note_collection)
    atexit.register(_end_all)


def _note_collection(phase: str, _: object) -> None:
    if phase == "start":
        _collecting.add(threading.get_ident())
    else:
        _collecting.discard(threading.get_ident())


def _end_all() -> None:
    """End all threads: one that is still in an encoder or decoder at interpreter exit would crash the process."""
    threads = [thread for thread in threading.enumerate() if isinstance(thread, OwnThread)]
    until_s = time.monotonic() + _EXIT_S
    for thread in threads:
        thread.end()
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
