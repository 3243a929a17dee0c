"""Ctrl-C, SIGTERM and a closing terminal: what was received is still written completely, then the command stops."""

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

# Windows has no SIGHUP.
_TERMINATIONS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name))
# A closing terminal sends several signals at once.
_AT_ONCE_S = 1.0


class Interrupts:
    """Handles SIGINT, SIGTERM and SIGHUP during a `with` block, in which all files are written and closed.

        with Interrupts() as interrupts, writer:
            for result in interrupts.until_interrupted(stream):
                writer.write(result)            # never interrupted
        interrupts.happened

    The first signal ends the loop: at once if it waits for the next item, else after the current item. Before the loop
    it raises KeyboardInterrupt; after the loop, it does not interrupt the work that remains. A second Ctrl-C raises
    KeyboardInterrupt anywhere, and so does a SIGTERM or SIGHUP more than a second after the first signal; earlier ones
    are ignored, since a closing terminal sends several. SIGHUP stays ignored if it was before, as under nohup.
    """

    def __init__(self) -> None:
        self.happened = False
        self._may_break_off = True
        self._first_s = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, *_TERMINATIONS):
                if number in (signal.SIGINT, signal.SIGTERM) or signal.getsignal(number) is not signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def until_interrupted(self, items: Iterable[T]) -> Iterator[T]:
        """The items, up to the first interrupt."""
        iterator = iter(items)
        while True:
            try:
                self._may_break_off = True  # before the test: a signal between the two would be lost
                if self.happened:
                    return
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
    """Let SIGTERM and SIGHUP, which would end the program immediately, raise KeyboardInterrupt in the block.

    Further ones within a second of the first are ignored: a closing terminal sends several, and cleaning up must not be
    interrupted. Signals that are already handled or ignored are left alone.
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
