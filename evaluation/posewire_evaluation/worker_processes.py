"""Processes that share work, and that are gone when their parent is, however it ended."""

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
    """The built-in `map` of one iterable."""

    def __call__(self, work: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[Result]:
        """The results in the order of the tasks."""
        ...


@contextmanager
def worker_processes(count: int, prepare: Callable[[], object] | None = None) -> Iterator[Map]:
    """A `map` over processes that live as long as the block; an exception that ends it breaks off what they are at.

    They are started afresh, not forked: a fork would copy the locks of the libraries' threads.

    Each holds the read end of a pipe whose write end only this process has. An executor's own processes would wait for
    work for ever if this one is killed.

    Args:
        count: of processes.
        prepare: called first in each; has to be importable there, as all that is mapped.

    Raises:
        EvaluationError: a process ended that should not have.
    """
    context = multiprocessing.get_context("spawn")
    watched, ours = context.Pipe(duplex=False)
    # In pickled form: what it imports may take seconds, in which a process would not notice that it is to end.
    first = None if prepare is None else pickle.dumps(prepare)
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_begin, initargs=(watched, first))

    def mapped(work: Callable[[Task], Result], tasks: Iterable[Task], /) -> Iterator[Result]:
        # Ctrl-C reaches all processes of a terminal. Those that start now never hear of it, and this one in a moment.
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
            "a process that shared the work was killed, as systems do when memory runs out; take fewer (--workers)"
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
