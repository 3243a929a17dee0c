"""Counts of what is held at the moment, by whom."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["counted"]


@contextmanager
def counted(counts: Counter[str], who: str) -> Iterator[None]:
    """Count one more of `who` during the block; who has none is forgotten."""
    counts[who] += 1
    try:
        yield
    finally:
        counts[who] -= 1
        if not counts[who]:
            del counts[who]
