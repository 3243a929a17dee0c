"""Counting what each caller holds at the moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["counted"]


@contextmanager
def counted(counts: Counter[str], who: str) -> Iterator[None]:
    """Add one to the count of `who` during the block. Keys with a count of 0 are deleted."""
    counts[who] += 1
    try:
        yield
    finally:
        counts[who] -= 1
        if not counts[who]:
            del counts[who]
