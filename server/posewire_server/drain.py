"""The signal to finish, for a server that is about to stop and for a stream whose time is up."""

from __future__ import annotations

import asyncio
import time

__all__ = ["DrainSignal"]


class DrainSignal:
    """A signal that is set once.

    Args:
        grace_s: how long finishing may take after it is set.
    """

    def __init__(self, grace_s: float) -> None:
        self.grace_s = grace_s
        self._set = asyncio.Event()
        self._deadline = 0.0

    def __bool__(self) -> bool:
        return self._set.is_set()

    def set(self) -> None:
        """Tell everything that waits for the signal to finish."""
        if not self._set.is_set():
            self._deadline = time.monotonic() + self.grace_s
            self._set.set()

    async def wait(self) -> None:
        """Return when it is set."""
        await self._set.wait()

    @property
    def remaining_s(self) -> float:
        """What remains of the grace period."""
        return max(0.0, self._deadline - time.monotonic())
