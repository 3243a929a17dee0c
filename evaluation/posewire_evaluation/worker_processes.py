"""Worker processes that end with their parent, however it ends."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import Connection
from typing import Protocol, TypeVar

from posewire_evaluation.errors import EvaluationError

__all__ = ["Map", "worker_processes"]

Task = TypeVar("Task")
Result = TypeVar("Result")


class Map(Protocol):
    """The built-in `map` over one iterable."""

    def __call__(self, work: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[Result]:
        """The results in the order of the tasks."""
        ...


@contextmanager
def worker_processes(count: int, prepare: Callable[[], object] | None = None) -> Iterator[Map]:
    """A `map` over processes that live as long as the block. An exception in the block also stops running tasks.

    Processes are spawned, not forked: a fork would copy locks held by threads of libraries.

    Each holds the read end of a pipe whose write end only this process has. Without it, an executor's processes would
    wait for work forever if this one is killed.

    Args:
        count: number of processes.
        prepare: called first in each process; must be importable there, like everything that is mapped.

    Raises:
        EvaluationError: a process ended unexpectedly.
    """
    context = multiprocessing.get_context("spawn")
    watched, ours = context.Pipe(duplex=False)
    # Pickled, so that it is unpickled after the watching thread has started: its imports may take seconds.
    first = None if prepare is None else pickle.dumps(prepare)
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(watched, first))

    def mapped(work: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[Result]:
        # Ctrl-C reaches all processes of a terminal. New ones inherit the mask and ignore it, this one gets it later.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            return pool.map(work, tasks)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    try:
        yield mapped
    except BrokenProcessPool as error:
        ours.close()
        raise EvaluationError(
            "a worker process was killed, probably because memory ran out; use fewer of them (--workers)"
        ) from error
    except BaseException:
        ours.close()
        raise
    finally:
        pool.shutdown(cancel_futures=True)
        ours.close()
        watched.close()


def _begin(watched: Connection, first: bytes | None) -> None:
    threading.Thread(target=_end_with_parent, args=(watched,), daemon=True).start()
    if first is not None:
        pickle.loads(first)()


def _end_with_parent(watched: Connection) -> None:
    watched.poll(None)
    os._exit(1)
