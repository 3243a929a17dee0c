"""The signal to finish: of a server that is about to stop, and of a stream whose time is up."""

from __future__ import annotations

import asyncio
import time

__all__ = ["DrainSignal"]


class DrainSignal:
    """Set once.

    Args:
        grace_s: how long finishing may take from then on.
    """

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self._set = asyncio.Event()
        self._deadline = 0.0

    def __bool__(self) -> bool:
        return self._set.is_set()

    def set(self) -> None:
        """Ask whoever waits for it to finish."""
        if not self._set.is_set():
            self._deadline = time.monotonic() + self.grace_s
            self._set.set()

    async def wait(self) -> None:
        """Return when it is set."""
        await self._set.wait()

    @property
    def remaining_s(self) -> float:
        """What is left of the grace."""
        return max(0.0, self._deadline - time.monotonic())
