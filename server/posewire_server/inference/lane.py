"""A lane: one worker thread that makes all calls to one device, one after another."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol, TypeVar

from posewire_server.workers import Workers

__all__ = ["Lane", "Stage"]

Result = TypeVar("Result")


class Stage(Protocol):
    """One of the stages that take turns on a lane."""

    def start_batch(self) -> bool:
        """If there is work that should not wait any longer, run it on the lane; returns whether there was."""
        ...


class Lane:
    """One thread. Stages that would only slow each other down share a lane, so that one of them runs at a time.

    Everything but the work itself happens on the event loop.

    Args:
        name: for the thread's name.
        around: context entered on the thread around each piece of work, such as a CUDA stream.
    """

    def __init__(self, name: str, around: Callable[[], AbstractContextManager[object]] = nullcontext) -> None:
        self.name = name
        self._around = around
        self.free = True
        """Whether nothing is running."""
        self._stages: list[Stage] = []  # in the order of their turns
        self._worker = Workers(1, f"posewire-{name}")

    def join(self, stage: Stage) -> None:
        """Add a stage that will run here."""
        self._stages.append(stage)

    def run(
        self, work: Callable[[], Result], done: Callable[[Result | None, BaseException | None, float, float], None]
    ) -> None:
        """Run `work` on the thread of a free lane; after that, the stages are asked in turn for more work.

        Args:
            work: what to run.
            done: called on the event loop with the result or the error, when the work began (on the clock of
                `time.perf_counter`), and how many milliseconds it ran.
        """
        if not self.free:
            raise RuntimeError(f"lane {self.name} is busy")
        self.free = False
        began_s = ran_ms = 0.0

        def timed() -> Result:
            nonlocal began_s, ran_ms
            began_s = time.perf_counter()
            try:
                with self._around():
                    return work()
            finally:
                ran_ms = (time.perf_counter() - began_s) * 1e3

        def finished(result: Result | None, error: BaseException | None) -> None:
            self.free = True
            done(result, error, began_s, ran_ms)
            self._next()

        self._worker.call(timed, finished)

    def close(self) -> None:
        """End the thread once it has finished its work."""
        self._worker.close()

    def _next(self) -> None:
        for stage in self._stages:
            if self.free and stage.start_batch():
                # It is asked last the next time.
                self._stages.remove(stage)
                self._stages.append(stage)
                return
