"""Counting what each caller or stream holds at the moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator
from contextlib import contextmanager
from typing import TypeVar

__all__ = ["counted"]

Holder = TypeVar("Holder", bound=Hashable)


@contextmanager
def counted(counts: Counter[Holder], who: Holder) -> Iterator[None]:
    """Add one to the count of `who` during the block. Keys with a count of 0 are deleted."""
    counts[who] += 1
    try:
        yield
    finally:
        counts[who] -= 1
        if not counts[who]:
            del counts[who]
