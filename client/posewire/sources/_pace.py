"""Live video that arrives seconds at once."""

from __future__ import annotations

import threading
import time

__all__ = ["Pace"]

# A packet that is late by more than this shows that the source has stalled: those behind it are late as well.
_STALLED_S = 1.0
# Time stamps that are further ahead than this do not continue those before them.
_LONGEST_GAP_S = 5.0


class Pace:
    """Lets packets pass in real time, by their time stamps.

    HLS and DASH give the packets of a whole segment as fast as they can be read: as they come, most frames would be
    superseded at once, and all of them would have the same time.

    Args:
        timeout_s: of the source; nothing waits for longer than half of it.
    """

    def __init__(self, timeout_s: float) -> None:
        self._longest_s = min(timeout_s / 2, _LONGEST_GAP_S)
        self._offset_s: float | None = None  # from time stamps to the monotonic clock
        self._interrupted = threading.Event()

    def wait(self, stamp_s: float) -> None:
        """Wait until the packet with this time stamp is due."""
        now_s = time.monotonic()
        ahead_s = 0.0 if self._offset_s is None else stamp_s + self._offset_s - now_s
        if self._offset_s is None or not -_STALLED_S <= ahead_s <= self._longest_s:
            self._offset_s = now_s - stamp_s
        elif ahead_s > 0:
            self._interrupted.wait(ahead_s)

    def interrupt(self) -> None:
        """End the waiting in another thread, and let all further packets pass."""
        self._interrupted.set()
