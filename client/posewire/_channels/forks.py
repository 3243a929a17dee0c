"""gRPC in forked processes: an open channel has a thread, which the child process lacks, without any error."""

from __future__ import annotations

import functools
import gc
import os
from typing import TypeVar
from weakref import WeakSet

from posewire.errors import MisuseError

__all__ = ["check_process", "note_use"]

Part = TypeVar("Part")

_in_use: WeakSet[object] = WeakSet()
_is_stranded = False


def note_use(part: Part) -> Part:
    """Register a channel or call of gRPC, as long as it lives; returns it."""
    _prepare()
    _in_use.add(part)
    return part


def check_process() -> None:
    """Raise `MisuseError` in a process where calls would never be answered, or gRPC would crash."""
    if _is_stranded:
        raise MisuseError(
            "this process was forked while a client was open, or had failed and was not yet garbage-collected, which"
            " gRPC does not survive; fork before connecting, or start processes in another way:"
            ' multiprocessing.get_context("spawn")'
        )


@functools.cache
def _prepare() -> None:
    if hasattr(os, "register_at_fork"):  # Windows has no forks
        os.register_at_fork(before=_forget_closed, after_in_child=_note_fork)


def _forget_closed() -> None:
    if _in_use:
        gc.collect()  # calls that are over may be part of reference cycles, within gRPC before 1.84


def _note_fork() -> None:
    global _is_stranded
    _is_stranded = _is_stranded or len(_in_use) > 0
