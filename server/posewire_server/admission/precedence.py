"""Scheduling between streams under overload: streams that ask for no more than they get go first.

A stream that sends far more frames than can be processed - a flood, or a file that is read at full speed - always has
one waiting, and would delay every frame of every camera. So it is called greedy, and yields to the others. Before each
step of a frame it waits while a frame of a modest stream is in progress, or is due before the step would end, since a
step cannot be interrupted. So it gets the time between the frames of the others; and because no gap may be long enough,
the wait of a frame is limited to a multiple of what the previous one took.

It does not wait for a stream that asks for about as much as itself, even if that one gets everything: among equals, the
first to come would otherwise keep the server. Nor does it wait for one that asks for somewhat less but has had more. If
the others are greedy too, because there is not enough for all, it still waits for those that ask for far less than it
does. Demand and service are counted in frames and people: a frame of twenty people is more work than a frame of one.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextlib import suppress

from posewire_server.admission.turns import Step
from posewire_server.streams.outbox import Outbox

__all__ = ["Precedence", "Standing"]

# How long a stream is observed before it is judged.
_WINDOW_S = 1.0
# A stream is greedy if more than this many frames are turned away per tracked frame.
_EXCESS_A_FRAME = 0.5
# A greedy stream yields to another one if its demand is more than this many times the other's: `_FAR_MORE` if the other
# is greedy too or has had at least as much; else `_MORE`, which covers how the counts of two equal streams may differ
# within a window.
_MORE = 1.5
_FAR_MORE = 3.0
# Work per frame, in units of one person's pose: this much for detector and flow, and one for each person. Times would
# not do, since batches also hold the frames of others.
_LOOK = 2
# The longest wait of a frame, as a multiple of what the stream's previous frame took: it sets the smallest share that a
# stream can be left with. On a CPU, a step delays every frame that comes meanwhile; a GPU takes both in one batch.
_PATIENCE_ON_CPU = 40.0
_PATIENCE_ON_GPU = 1.0
# How quickly an unusually long step is forgotten: the detector runs on every n-th frame only.
_FADING = 0.9

# Receiving frames that will be dropped also costs the other streams. So a stream that yields is read at this many
# frames per tracked one, and at no fewer than this many per second, to keep its frames recent.
_READ_A_FRAME = 2.0
_LEAST_READ_FPS = 10.0
# A stream that reached at least this share of its reading limit may have wanted to send any number of frames.
_READ_TO_THE_LIMIT = 0.8


class Precedence:
    """The scheduling between the streams of a server.

    Args:
        on_gpu: whether the networks run on a GPU.
    """

    def __init__(self, *, on_gpu: bool = False) -> None:
        self.patience = _PATIENCE_ON_GPU if on_gpu else _PATIENCE_ON_CPU
        self._standings: set[Standing] = set()
        self._frame_done = asyncio.Event()

    def join(
        self,
        outbox: Outbox,
        excess: Callable[[], int],
        due_s: Callable[[float], float | None] = lambda _now_s: None,
        clock: Callable[[], float] = time.monotonic,
        *,
        is_held_back: bool = False,
    ) -> Standing:
        """Add a stream; returns its standing.

        Args:
            outbox: of the stream.
            excess: returns how many of its frames have found no room so far.
            due_s: takes the current time and returns when its next frame is likely to come; see `FrameClock.due_s`.
            clock: seconds; a test's own.
            is_held_back: whether its client has to wait when a frame finds no room, so that its demand is unknown.
        """
        standing = Standing(self, outbox, excess, due_s, clock, is_held_back=is_held_back)
        self._standings.add(standing)
        outbox.on_given_up = self.note_frame_done
        return standing

    def leave(self, standing: Standing) -> None:
        """Remove a stream that was closed."""
        self._standings.discard(standing)
        self.note_frame_done()

    def note_frame_done(self) -> None:
        """Note that some stream has finished a frame."""
        self._frame_done.set()

    async def wait_for_others(self, waiting: Standing, length_s: float, at_most_s: float) -> None:
        """Return when a step of `waiting` that takes `length_s` would not delay the streams that go first."""
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most_s):
                while (busy_s := self._busy_s(waiting, length_s)) > 0:
                    self._frame_done.clear()
                    with suppress(TimeoutError):
                        async with asyncio.timeout(None if math.isinf(busy_s) else busy_s):
                            await self._frame_done.wait()

    def others_go_before(self, standing: Standing) -> bool:
        """Whether a stream that goes first has frames, or will have some soon."""
        return any(standing.gives_way_to(each) and each.is_alive for each in self._standings)

    def _busy_s(self, waiting: Standing, length_s: float) -> float:
        """How long the streams that go first need the server; infinity: until one of them has finished a frame."""
        first = [each for each in self._standings if waiting.gives_way_to(each)]
        if any(each.in_work for each in first):
            return math.inf
        return max((each.expected_for_s(length_s) for each in first), default=0.0)


class Standing:
    """The standing of one stream; see `Precedence.join`.

    Attributes:
        greedy: whether it has lately asked for far more than it got.
        asked: its demand in the last window, in units of work per second (per frame: `_LOOK`, and one for each person).
            What exceeds its token's rate does not count. 0 until it is judged.
        had: how much it got, likewise.
        is_held_back: see `Precedence.join`.
    """

    def __init__(
        self,
        precedence: Precedence,
        outbox: Outbox,
        excess: Callable[[], int],
        due_s: Callable[[float], float | None],
        clock: Callable[[], float],
        *,
        is_held_back: bool,
    ) -> None:
        self.greedy = False
        self.asked = self.had = 0.0
        self._asked_fps = self._got_fps = 0.0
        self._precedence = precedence
        self._outbox = outbox
        self._excess = excess
        self._due_s = due_s
        self._clock = clock
        self.is_held_back = is_held_back
        self._window: tuple[float, int, int, int] = (clock(), 0, 0, 0)  # start; answered, tracked, in excess by then
        self._done = 0  # units of work in this window
        self._limit_fps = math.inf  # the lowest reading limit in this window
        self._patience_s = 0.0
        self._lengths_s = dict.fromkeys(Step, 0.0)

    @property
    def in_work(self) -> bool:
        """Whether it has frames in progress that are not just waiting for their client to read."""
        return self._outbox.accounts.in_work > 0 and not self._outbox.is_stuck

    @property
    def is_alive(self) -> bool:
        """Whether it has frames in progress, or will have some soon."""
        return self.in_work or self._due_s(self._clock()) is not None

    def reading_fps(self) -> float:
        """How many of its frames to read per second; infinity: as many as come. Call it before each frame."""
        if not (self.greedy and self._precedence.others_go_before(self)):
            return math.inf
        fps = max(_LEAST_READ_FPS, _READ_A_FRAME * self._got_fps)
        self._limit_fps = min(self._limit_fps, fps)
        return fps

    def gives_way_to(self, other: Standing) -> bool:
        """Whether the other stream's frames go first.

        Only a greedy stream gives way to others, which are greedy too or modest:

            this one     the other                    gives way
            ---------------------------------------------------------------------
            held back    modest, not held back        always
            held back    any other                    never
            not          greedy, held back            never
            not          greedy, or had as much       if it asks for `_FAR_MORE`
            not          modest, had less             if it asks for `_MORE`
        """
        if not self.greedy:
            return False
        if other.greedy and (self.is_held_back or other.is_held_back):
            return False  # it is unknown which of them would ask for more
        if self.is_held_back:
            return not other.is_held_back
        if other.greedy or self.had <= other.had:
            return self.asked > _FAR_MORE * other.asked
        return self.asked > _MORE * other.asked

    def expected_for_s(self, length_s: float) -> float:
        """How long a step that takes `length_s` should wait for this stream's next frame; 0: not at all."""
        now_s = self._clock()
        due_s = self._due_s(now_s)
        if due_s is None or due_s > now_s + length_s:
            return 0.0
        # It may come a little late. If it is very late, `_due_s` no longer expects it.
        return max(due_s - now_s, 0.0) + length_s

    async def turn(self, step: Step) -> None:
        """Wait if others go first. Call it before each step of a frame."""
        if self.greedy and self._patience_s > 0:
            began_s = self._clock()
            await self._precedence.wait_for_others(self, self._length_s(step), self._patience_s)
            self._patience_s -= self._clock() - began_s

    def frame_done(self, decode_s: float, look_s: float, pose_s: float, people: int) -> None:
        """Note that a frame is done: the seconds that its steps took, and its number of people."""
        took_s = {Step.DECODE: decode_s, Step.LOOK: look_s, Step.POSE: pose_s}
        self._lengths_s = {step: max(took_s[step], _FADING * self._lengths_s[step]) for step in Step}
        self._patience_s = self._precedence.patience * sum(took_s.values())
        self._done += _LOOK + people
        self._judge()
        self._precedence.note_frame_done()

    def _length_s(self, step: Step) -> float:
        # A decoded frame is no longer replaced by a newer one, so it should then go on without waiting.
        also_s = self._lengths_s[Step.LOOK] if step is Step.DECODE else 0.0
        return self._lengths_s[step] + also_s

    def _judge(self) -> None:
        now_s, (since_s, *before) = self._clock(), self._window
        if now_s - since_s < _WINDOW_S:
            return
        accounts, late = self._outbox.accounts, self._excess()
        counts = accounts.tracked + accounts.failed, accounts.tracked, late
        answered, got, too_many = (now - then for now, then in zip(counts, before, strict=True))
        length_s = now_s - since_s
        self._got_fps, self.greedy = got / length_s, too_many > _EXCESS_A_FRAME * max(1, got)
        asked_fps = (answered if self.is_held_back else answered + too_many) / length_s
        # If reading was limited, more frames may be waiting than were read: then assume the same demand as before.
        if asked_fps < _READ_TO_THE_LIMIT * self._limit_fps:
            self._asked_fps = asked_fps
        self.had = self._done / length_s
        self.asked = self._asked_fps * self._done / max(1, got)
        self._window, self._done, self._limit_fps = (now_s, *counts), 0, math.inf
