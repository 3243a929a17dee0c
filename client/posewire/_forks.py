"""gRPC in processes that were forked: beside an open channel it has a thread, which the child lacks without a word."""

from __future__ import annotations

import functools
import os
from weakref import WeakSet

from posewire.errors import MisuseError

__all__ = ["check_process", "note_use"]

_in_use: WeakSet[object] = WeakSet()
_is_stranded = False


def note_use(part: object) -> None:
    """Keep in mind that there is this channel or call of gRPC, as long as it lives."""
    _prepare()
    _in_use.add(part)


def check_process() -> None:
    """Raise `MisuseError` in a process where calls would never be answered, or gRPC crash."""
    if _is_stranded:
        raise MisuseError(
            "this process was forked beside a client that was open, or failed and not yet forgotten, which gRPC does"
            " not survive; fork first and connect then, or start processes in another way:"
            ' multiprocessing.get_context("spawn")'
        )


@functools.cache
def _prepare() -> None:
    if hasattr(os, "register_at_fork"):  # Windows has no forks
        os.register_at_fork(after_in_child=_note_fork)


def _note_fork() -> None:
    global _is_stranded
    _is_stranded = _is_stranded or len(_in_use) > 0
