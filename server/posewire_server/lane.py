"""A lane: one worker thread through which all calls to one device go, one after another."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

__all__ = ["Lane"]

Result = TypeVar("Result")


class Lane:
    """One thread. Stages that share a device share its lane, so that only one of them talks to it at a time.

    Args:
        name: for the thread's name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        # Held from the moment a batch is put together until it has run: whoever waits for the lane goes on collecting.
        self.turn = asyncio.Lock()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"posewire-{name}")

    async def run(self, work: Callable[[], Result]) -> tuple[Result, float]:
        """Run `work` on the thread; its result, and the milliseconds that it ran."""

        def timed() -> tuple[Result, float]:
            start = time.perf_counter()
            result = work()
            return result, (time.perf_counter() - start) * 1e3

        return await asyncio.get_running_loop().run_in_executor(self._thread, timed)

    def close(self) -> None:
        """Take no more work and end the thread once it is done with what it has."""
        self._thread.shutdown(wait=False, cancel_futures=True)
