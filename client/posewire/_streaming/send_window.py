"""How many frames may be in flight: of a camera as many as its line carries, and no queue of old ones."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from typing import NamedTuple

from posewire.settings import PACKET_CODECS, StreamSettings

__all__ = ["PacketWindow", "PictureWindow", "SendWindow", "window_for"]

_MOST = {"all": 8, "latest": 32}
_LEAST = 2
# The line's delay may have changed, for example by another way through the network, so it is measured again.
_DELAY_KNOWN_FOR_S = 60.0
# With up to one frame in the queue, the line never idles; with more, frames only get older.
_SHORT_QUEUE, _LONG_QUEUE = 0.8, 1.5
# A queue of shorter waits is none: it hardly ages a frame, and a disturbed line or a busy program causes them as well.
_SHORT_WAIT_S, _LONG_WAIT_S = 0.05, 0.1
# A queue delays all frames, a disturbance only some: what counts is the least delay of so many.
_NEWEST = 3
# Of packets: the longest time in flight on a line that is fast enough, and how many frames a decoder may hold back.
_LONG_FLIGHT_S = 1.0
_HELD_BACK = 16


class _Flight(NamedTuple):
    """A frame in flight: when it was sent, how many were then (with itself), and how many had been answered."""

    sent_s: float
    together: int
    answered: int


class SendWindow:
    """A fixed number of frames, for streams of which every frame counts.

    Args:
        most: upper bound.
        clock: in seconds.
    """

    def __init__(self, most: int, clock: Callable[[], float] = time.perf_counter) -> None:
        self.most = most
        self._clock = clock
        self.restart()

    @property
    def limit(self) -> int:
        """How many frames may be in flight now."""
        return self.most

    def restart(self) -> None:
        """Nothing is in flight, and another line is used from now on."""

    def record_sent(self, number: int) -> None:
        """Record that a frame is sent."""

    def record_answered(self, number: int, at_server_s: float | None = None) -> None:
        """Record the answer to a frame.

        Args:
            number: of the frame; unknown ones are ignored.
            at_server_s: how long it was at the server; None: not known.
        """


class PictureWindow(SendWindow):
    """Limits the frames in flight by the queue that they form on the line, as TCP Vegas limits packets.

    On a line that is slower than the camera, frames would otherwise queue up to the maximum in the buffers of systems
    and routers, seconds long, where nobody can drop them in favour of newer ones.

    A frame's delay on the line is the time until its answer without the time at the server, which says how long that
    was: frames that wait there are no concern of this window. The delay of a frame that had the line to itself is the
    reference. What a frame needs beyond it, times the rate of answers, is the number of frames in the queue. (L. S.
    Brakmo, L. L. Peterson: TCP Vegas, IEEE JSAC 1995.)
    """

    @property
    def limit(self) -> int:
        return 1 if self._reference_is_old() else min(self._limit, self.most)

    def restart(self) -> None:
        self._limit = _LEAST
        self._flights: dict[int, _Flight] = {}
        self._has_queued = False
        self._answered = 0
        self._delays_s: deque[float] = deque(maxlen=_NEWEST)
        self._reference_s = self._measured_s = float("nan")

    def record_sent(self, number: int) -> None:
        self._flights[number] = _Flight(self._clock(), len(self._flights) + 1, self._answered)

    def record_answered(self, number: int, at_server_s: float | None = None) -> None:
        flight = self._flights.pop(number, None)
        if flight is None:
            return
        self._answered += 1
        if at_server_s is None:
            return
        now_s = self._clock()
        elapsed_s = now_s - flight.sent_s
        delay_s = max(0.0, elapsed_s - at_server_s)
        if not delay_s >= self._reference_s or (flight.together == 1 and self._reference_is_old()):
            self._reference_s, self._measured_s = delay_s, now_s
        self._delays_s.append(delay_s)
        rate = (self._answered - flight.answered) / max(elapsed_s, 1e-6)
        # Until the line's capacity is known, a window that was half full may grow, as in TCP's slow start.
        full = self._limit if self._has_queued else self._limit / 2
        wait_s, newest_wait_s = min(self._delays_s) - self._reference_s, delay_s - self._reference_s
        if (queued := rate * wait_s) > _LONG_QUEUE and wait_s > _LONG_WAIT_S:
            self._has_queued = True
            self._limit = max(_LEAST, min(self._limit, round(flight.together - queued + 1)))
        elif (rate * newest_wait_s < _SHORT_QUEUE or newest_wait_s < _SHORT_WAIT_S) and flight.together >= full:
            self._limit += 1

    def _reference_is_old(self) -> bool:
        return self._clock() - self._measured_s > _DELAY_KNOWN_FOR_S


class PacketWindow(SendWindow):
    """Holds packets back while one has been in flight for long, as on a line that is slower than the camera's bit rate.

    Packets differ too much in size to tell a queue from a keyframe. A decoder may hold back the answers to some until
    more arrive, so these never have to wait.
    """

    @property
    def limit(self) -> int:
        oldest_s = next(iter(self._sent_s.values()), math.inf)
        return min(self.most, _HELD_BACK + 1) if self._clock() - oldest_s > _LONG_FLIGHT_S else self.most

    def restart(self) -> None:
        self._sent_s: dict[int, float] = {}

    def record_sent(self, number: int) -> None:
        self._sent_s[number] = self._clock()

    def record_answered(self, number: int, at_server_s: float | None = None) -> None:
        self._sent_s.pop(number, None)


def window_for(settings: StreamSettings) -> SendWindow:
    """The window of a stream with these settings."""
    policy = settings.drop_policy or "all"
    most = settings.max_in_flight or _MOST[policy]
    if policy == "all":
        return SendWindow(most)
    return PacketWindow(most) if settings.codec in PACKET_CODECS else PictureWindow(most)
