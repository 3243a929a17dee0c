"""Ctrl-C while results come in: what was received is written to its end, then the command stops."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterable, Iterator
from types import FrameType
from typing import Any, TypeVar

__all__ = ["Interrupts"]

T = TypeVar("T")


class Interrupts:
    """Takes SIGINT and SIGTERM for the length of a `with` block.

        with Interrupts() as interrupts:
            for result in interrupts.until_interrupted(stream):
                writer.write(result)            # never cut in two
        interrupts.happened

    The first signal ends the loop: at once where it waits for the next item, else after the item in work. A second one
    raises KeyboardInterrupt wherever the program is.
    """

    def __init__(self) -> None:
        self.happened = False
        self._waiting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def until_interrupted(self, items: Iterable[T]) -> Iterator[T]:
        """The items, up to the first interrupt."""
        iterator = iter(items)
        while not self.happened:
            self._waiting = True
            try:
                item = next(iterator)
            except StopIteration:
                return
            except KeyboardInterrupt:
                return
            finally:
                self._waiting = False
            yield item

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        second, self.happened = self.happened, True
        if second or self._waiting:
            raise KeyboardInterrupt
