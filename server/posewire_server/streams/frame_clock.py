"""How much time lies between two frames of a stream, in frame intervals of its camera."""

from __future__ import annotations

import math
from collections import deque

from posewire_server.tracking import LEAST_ELAPSED

__all__ = ["FrameClock"]

# Number of recent intervals that are kept. The estimate is their interquartile mean: it follows a change of frame rate
# within a second or two, gaps and bursts do not move it, and uneven intervals do not bias it as they would a median.
_REMEMBERED = 32
# Times this close to a whole number of intervals are rounded to it: the difference is jitter of the camera, or a clock
# with whole milliseconds.
_JITTER = 0.25
# A frame that is late by more than this share of an interval counts as missing; after `_MISSED` missing frames the
# camera is assumed to have stopped.
_LATE = 0.25
_MISSED = 4
# If capture times advance by this much more than arrival times in a live stream, the client's clock has been set.
_CLOCK_SET_S = 60.0


class FrameClock:
    """The clock of one stream, driven by its frames.

    It uses capture times if the client sends them, they increase, and the client's clock is not set. Otherwise it uses
    arrival times if frames may be dropped; if none is dropped, it counts frames: each is one interval after the last.

    Args:
        may_drop: whether frames of the stream may be dropped before they are tracked.
    """

    def __init__(self, *, may_drop: bool) -> None:
        self._may_drop = may_drop
        self._by_capture = True
        self._received = 0
        self._last_s: float | None = None
        self._began_s = -math.inf  # when the clock in use began, in its own time
        self._arrived_s: float | None = None
        self._intervals: deque[float] = deque(maxlen=_REMEMBERED)

    @property
    def by_capture(self) -> bool:
        """Whether it uses capture times, which another server would see too."""
        return self._by_capture

    @property
    def interval_s(self) -> float | None:
        """Time between two frames of the camera; None if not known yet."""
        quarter = len(self._intervals) // 4
        middle = sorted(self._intervals)[quarter : len(self._intervals) - quarter]
        return sum(middle) / len(middle) if middle else None

    def received(self, capture_s: float | None, arrived_s: float) -> float:
        """A frame has arrived. Call it for every frame, whatever becomes of it.

        Args:
            capture_s: when it was taken, on the client's clock; None if unknown.
            arrived_s: when it arrived, on the server's clock.

        Returns:
            The frame's time, for `elapsed`: in seconds, or in intervals if frames are counted.
        """
        since_s, self._arrived_s = arrived_s - (self._arrived_s or arrived_s), arrived_s
        self._received += 1
        if self._by_capture and not self._is_plausible(capture_s, since_s):
            self._by_capture, self._last_s = False, None
            self._began_s = arrived_s if self._may_drop else self._received
            self._intervals.clear()
        if self._counts:
            return float(self._received)
        moment_s = capture_s if self._by_capture and capture_s is not None else arrived_s
        if self._last_s is not None and moment_s > self._last_s:
            self._intervals.append(moment_s - self._last_s)
        self._last_s = moment_s
        return moment_s

    @property
    def _counts(self) -> bool:
        return not (self._by_capture or self._may_drop)

    def _is_plausible(self, capture_s: float | None, since_s: float) -> bool:
        """Whether this can be the capture time of a frame that arrived `since_s` after the previous one."""
        if capture_s is None or self._last_s is None:
            return capture_s is not None
        return 0 < capture_s - self._last_s <= (since_s + _CLOCK_SET_S if self._may_drop else math.inf)

    def due_s(self, now_s: float) -> float | None:
        """When the next frame is likely to arrive, on the server's clock; in the past if it is late.

        None if unknown, or if no frame is likely to come.
        """
        interval_s = self.interval_s
        if self._arrived_s is None or not interval_s:
            return None
        missed = max(0, math.floor((now_s - self._arrived_s) / interval_s - _LATE))
        return self._arrived_s + (missed + 1) * interval_s if missed < _MISSED else None

    def elapsed(self, then_s: float | None, now_s: float | None) -> float:
        """Intervals from one frame to a later one; 1 if unknown, as between times of two different clocks."""
        interval_s = 1.0 if self._counts else self.interval_s
        if then_s is None or now_s is None or not interval_s or not self._began_s <= then_s < now_s:
            return 1.0
        if self._counts and now_s > self._received:
            return 1.0  # capture times, from before it began to count
        elapsed = (now_s - then_s) / interval_s
        whole = max(1.0, float(round(elapsed)))
        return whole if abs(elapsed - whole) < _JITTER else max(LEAST_ELAPSED, elapsed)

    def resume(self, interval_s: float) -> None:
        """Continue after an earlier stream of the same camera."""
        self._intervals.append(interval_s)
