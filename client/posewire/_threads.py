"""Threads of the SDK's own."""

from __future__ import annotations

import atexit
import functools
import gc
import sys
import threading
import time
from collections.abc import Callable

__all__ = ["OwnThread", "may_wait"]

# Where Python's cycle collector is at work.
_collecting: set[int] = set()
# How long the end of the interpreter waits for all of them together.
_EXIT_S = 2.0


class OwnThread(threading.Thread):
    """A daemon thread of the SDK, for which a loop of the SDK may wait, or for a lock that it holds.

    Args:
        target: what it does.
        name: of the thread.
        end: makes it end soon; called when the interpreter goes down, which then waits for it a little.
    """

    def __init__(self, target: Callable[[], object], name: str, *, end: Callable[[], object]) -> None:
        super().__init__(target=target, name=name, daemon=True)
        self.end = end

    def start(self) -> None:
        """As of every thread."""
        _prepare()
        super().start()


def may_wait() -> bool:
    """Whether what releases something may wait here until a loop of the SDK has done so.

    It may be a finaliser. If the cycle collector calls it, then at any point of any thread: it may hold locks that the
    loop needs, or be just starting, for which the loop may wait too.
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
    """Threads that are still in an encoder or decoder when the interpreter goes down would crash the process."""
    threads = [thread for thread in threading.enumerate() if isinstance(thread, OwnThread)]
    until_s = time.monotonic() + _EXIT_S
    for thread in threads:
        thread.end()
    for thread in threads:
        thread.join(max(0.0, until_s - time.monotonic()))
