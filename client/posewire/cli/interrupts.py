"""Ctrl-C, a kill and a terminal that closes: what was received is written to its end, then the command stops."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, TypeVar

__all__ = ["Interrupts", "terminated_as_interrupted"]

T = TypeVar("T")

_TERMINATIONS = (signal.SIGTERM, signal.SIGHUP)
# A terminal that closes sends several signals, all at once.
_AT_ONCE_S = 1.0


class Interrupts:
    """Takes SIGINT, SIGTERM and SIGHUP for the length of a `with` block, which holds all files that are written.

        with Interrupts() as interrupts, writer:
            for result in interrupts.until_interrupted(stream):
                writer.write(result)            # never cut in two
        interrupts.happened

    The first signal ends the loop: at once where it waits for the next item, else after the item in work. Before the
    loop it raises KeyboardInterrupt; after it, what is being finished is finished. A second Ctrl-C raises
    KeyboardInterrupt wherever the program is, and so does a SIGTERM or SIGHUP that comes more than a second after the
    first signal; those until then change nothing: a terminal that closes sends several. A SIGHUP that is ignored stays
    so, as under nohup.
    """

    def __init__(self) -> None:
        self.happened = False
        self._may_break_off = True
        self._first_s = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *_TERMINATIONS):
                if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def until_interrupted(self, items: Iterable[T]) -> Iterator[T]:
        """The items, up to the first interrupt."""
        iterator = iter(items)
        while not self.happened:
            try:
                self._may_break_off = True
                item = next(iterator)
            except StopIteration:
                return
            except KeyboardInterrupt:
                return
            finally:
                self._may_break_off = False
            yield item

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        now_s = time.monotonic()
        again, self.happened = self.happened, True
        self._first_s = self._first_s if again else now_s
        if again and number in _TERMINATIONS and now_s - self._first_s < _AT_ONCE_S:
            return
        if again or self._may_break_off:
            raise KeyboardInterrupt


@contextmanager
def terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM and SIGHUP, which would end the program on the spot, raise KeyboardInterrupt in the block.

    Within a second of the first, others change nothing: a terminal that closes sends several, and what ends is left to
    end. Where somebody else handles or ignores them, they are left to them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    first_s: float | None = None

    def interrupt(number: int, frame: FrameType | None) -> None:
        nonlocal first_s
        now_s = time.monotonic()
        if first_s is None or now_s - first_s >= _AT_ONCE_S:
            first_s = now_s if first_s is None else first_s
            raise KeyboardInterrupt

    ours = [number for number in _TERMINATIONS if signal.getsignal(number) is signal.SIG_DFL]
    for number in ours:
        signal.signal(number, interrupt)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)
