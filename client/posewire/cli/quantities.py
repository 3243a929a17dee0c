"""Numbers with their nouns, in singular or plural, for printed text."""

from __future__ import annotations

__all__ = ["quantity"]


def quantity(number: int, noun: str, plural: str = "") -> str:
    """`quantity(1, "frame")` is `1 frame`, `quantity(2, "frame")` is `2 frames`; `plural` is for irregular nouns."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
