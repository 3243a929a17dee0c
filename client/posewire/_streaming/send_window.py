"""How many frames may be in flight: of a camera as many as its line carries, and no queue of old ones."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable
from statistics import fmean
from typing import NamedTuple

from posewire.settings import PACKET_CODECS, StreamSettings

__all__ = ["PacketWindow", "PictureWindow", "SendWindow", "window_for"]

_MOST = {"all": 8, "latest": 32}
_LEAST = 2
# The line's delay may have changed, for example by another way through the network, so it is measured again.
_DELAY_KNOWN_FOR_S = 60.0
# With one frame in the queue, the line never idles; with more, frames only get older. So many more or fewer are good.
_SHORT_QUEUE, _LONG_QUEUE = -0.2, 0.5
# A queue delays all frames, a disturbance only some: what counts is the least delay of so many.
_NEWEST = 3
# For how long a burst of answers is remembered, how much faster than on average its answers come at least, and the
# longest wait that it accounts for.
_BURST_KNOWN_FOR_S = 10.0
_BURST_RATE = 1.4
_LONG_BURST_S = 0.5
# Of packets: the longest time in flight on a line that is fast enough, and of how many packets the shortest counts.
_LONG_FLIGHT_S = 1.0
_NEWEST_PACKETS = 8
# The most frames that a decoder may hold back, and how many at the server mean that it holds back none, on average over
# so many answers. How few may be in flight then, and after which silence it may have begun to hold frames back.
_HELD_BACK, _HELD_BACK_NONE, _HELD_BACK_KNOWN_FOR = 16, 0.5, 50
_LEAST_PACKETS = 3
_SILENCE_S = 5.0


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


class _Bursts:
    """How many more answers have recently come at once than in a steady flow.

    A bucket that receives the answers and leaks more than they are on average holds one after each, unless they come in
    bursts.
    """

    def __init__(self) -> None:
        self._levels: deque[tuple[float, float]] = deque()

    def record_answer(self, now_s: float) -> None:
        """Record that an answer has come."""
        levels = self._levels
        while levels and now_s - levels[0][0] > _BURST_KNOWN_FOR_S:
            levels.popleft()
        level = 0.0
        if levels:
            average = len(levels) / max(now_s - levels[0][0], 1e-6)
            last_s, last = levels[-1]
            level = max(0.0, last - _BURST_RATE * average * (now_s - last_s))
        levels.append((now_s, level + 1))

    @property
    def largest(self) -> float:
        """Of the recent bursts."""
        return max((level for _, level in self._levels), default=1.0) - 1


class PictureWindow(SendWindow):
    """Limits the frames in flight by the queue that they form on the line, as TCP Vegas limits packets.

    On a line that is slower than the camera, frames would otherwise queue up to the maximum in the buffers of systems
    and routers, seconds long, where nobody can drop them in favour of newer ones.

    A frame's delay on the line is the time until its answer without the time at the server, which says how long that
    was: frames that wait there are no concern of this window. The delay of a frame that had the line to itself is the
    reference. What a frame needs beyond it, times the rate of answers, is the number of frames in the queue. (L. S.
    Brakmo, L. L. Peterson: TCP Vegas, IEEE JSAC 1995.)

    A line that is fast enough but disturbed, as mobile and wireless ones are, delays frames as well, but releases in
    bursts what it has held up, while it carries a queue steadily. So as many frames may be in flight in addition as
    have recently come in a burst. (`extra_acked` in N. Cardwell et al.: BBR Congestion Control, IETF draft, 2022.)
    """

    @property
    def limit(self) -> int:
        return 1 if self._reference_is_old() else min(self._limit, self.most)

    def restart(self) -> None:
        self._limit = _LEAST
        self._flights: dict[int, _Flight] = {}
        self._has_queued = False
        self._answered = 0
        self._bursts = _Bursts()
        self._delays_s: deque[float] = deque(maxlen=_NEWEST)
        self._reference_s = self._measured_s = float("nan")

    def record_sent(self, number: int) -> None:
        self._flights[number] = _Flight(self._clock(), len(self._flights) + 1, self._answered)

    def record_answered(self, number: int, at_server_s: float | None = None) -> None:
        flight = self._flights.pop(number, None)
        if flight is None:
            return
        now_s = self._clock()
        self._answered += 1
        if self._has_queued:  # before, it sends in bursts itself
            self._bursts.record_answer(now_s)
        if at_server_s is None:
            return
        elapsed_s = now_s - flight.sent_s
        delay_s = max(0.0, elapsed_s - at_server_s)
        if not delay_s >= self._reference_s or (flight.together == 1 and self._reference_is_old()):
            self._reference_s, self._measured_s = delay_s, now_s
        self._delays_s.append(delay_s)
        rate = (self._answered - flight.answered) / max(elapsed_s, 1e-6)
        allowed = max(1.0, min(self._bursts.largest, rate * _LONG_BURST_S))
        # Until the line's capacity is known, a window that was half full may grow, as in TCP's slow start.
        full = self._limit if self._has_queued else self._limit / 2
        if (excess := rate * (min(self._delays_s) - self._reference_s) - allowed) > _LONG_QUEUE:
            self._has_queued = True
            self._limit = max(_LEAST, min(self._limit, round(flight.together - excess)))
        elif rate * (delay_s - self._reference_s) - allowed < _SHORT_QUEUE and flight.together >= full:
            self._limit += 1

    def _reference_is_old(self) -> bool:
        return self._clock() - self._measured_s > _DELAY_KNOWN_FOR_S


class PacketWindow(SendWindow):
    """Halves the packets in flight while they need long, as on a line that is slower than the camera's bit rate.

    Packets differ too much in size to tell a queue from a keyframe by less than a second. What is not sent waits at the
    client, where a keyframe can replace it. An answer that comes in time lets one more be in flight. (V. Jacobson:
    Congestion Avoidance and Control, SIGCOMM 1988.)

    A decoder may hold frames back until more packets arrive, so as many as it might want may be in flight, unless
    frames stay at the server so shortly that it holds back none.
    """

    @property
    def limit(self) -> int:
        oldest = next(iter(self._flights.values()), None)
        waits = oldest is not None and self._clock() - max(oldest.sent_s, self._answered_s) > _SILENCE_S
        return min(_HELD_BACK + 1 if waits else self._limit, self.most)

    def restart(self) -> None:
        self._limit = self.most
        self._flights: dict[int, _Flight] = {}
        self._answered_s = -math.inf
        self._delays_s: deque[float] = deque(maxlen=_NEWEST_PACKETS)
        self._at_server: deque[float] = deque(maxlen=_HELD_BACK_KNOWN_FOR)

    def record_sent(self, number: int) -> None:
        self._flights[number] = _Flight(self._clock(), len(self._flights) + 1, 0)

    def record_answered(self, number: int, at_server_s: float | None = None) -> None:
        flight = self._flights.pop(number, None)
        if flight is None:
            return
        self._answered_s = self._clock()
        if at_server_s is None:
            return
        elapsed_s = max(self._answered_s - flight.sent_s, at_server_s, 1e-6)
        self._delays_s.append(elapsed_s - at_server_s)
        # The share of the time that a frame is at the server is the share of the frames that are (Little's law).
        self._at_server.append(at_server_s / elapsed_s * max(flight.together, len(self._flights) + 1))
        if min(self._delays_s) > _LONG_FLIGHT_S:
            self._limit //= 2
        elif flight.together >= self._limit:
            self._limit += 1
        self._limit = max(self._limit, _LEAST_PACKETS if fmean(self._at_server) < _HELD_BACK_NONE else _HELD_BACK + 1)


def window_for(settings: StreamSettings) -> SendWindow:
    """The window of a stream with these settings."""
    policy = settings.drop_policy or "all"
    most = settings.max_in_flight or _MOST[policy]
    if policy == "all":
        return SendWindow(most)
    return PacketWindow(most) if settings.codec in PACKET_CODECS else PictureWindow(most)
