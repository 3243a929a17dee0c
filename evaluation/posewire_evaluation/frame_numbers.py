"""Which frames pictures are, by their names."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["RULE", "frame_numbers"]

RULE = "a frame's number is the one before the first `_` of its picture's name if these differ, else the last one in it"

_NUMBER_AT_THE_END = re.compile(r"(\d+)\D*$")


def frame_numbers(stems: Sequence[str]) -> list[int | None]:
    """The numbers of a sequence's frames by the names of their pictures, without suffixes: see `RULE`.

    7 of `000007`, `000007_crop` and `cam2_007`, None of `a`; of `2024_000007` too, where all begin with 2024.
    """
    first = [int(digits) if (digits := stem.split("_")[0]).isdecimal() else None for stem in stems]
    if len(stems) > 1 and len(set(first)) == 1:
        first = [None] * len(stems)
    return [_last(stem) if number is None else number for stem, number in zip(stems, first, strict=True)]


def _last(stem: str) -> int | None:
    found = _NUMBER_AT_THE_END.search(stem)
    return int(found[1]) if found else None
