"""Frame numbers from the names of pictures."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["RULE", "frame_numbers", "shared_first_number"]

RULE = "a frame's number is the one before the first `_` of its picture's name if these differ, else the last one in it"

_NUMBER_AT_THE_END = re.compile(r"(\d+)\D*$")


def frame_numbers(stems: Sequence[str]) -> list[int | None]:
    """Frame numbers of a sequence from the names of its pictures, without suffixes: see `RULE`.

    7 for `000007`, `000007_crop` and `cam2_007`, None for `a`; also 7 for `2024_000007` if all names begin with 2024.
    """
    shared = shared_first_number(stems)
    return [
        _last(stem) if number is None or number == shared else number
        for stem, number in zip(stems, _first_numbers(stems), strict=True)
    ]


def shared_first_number(stems: Sequence[str]) -> int | None:
    """The number that all names begin with, and which is therefore not a frame number; None if there is none."""
    first = _first_numbers(stems)
    return first[0] if len(stems) > 1 and len(set(first)) == 1 else None


def _first_numbers(stems: Sequence[str]) -> list[int | None]:
    return [int(digits) if (digits := stem.split("_")[0]).isdecimal() else None for stem in stems]


def _last(stem: str) -> int | None:
    found = _NUMBER_AT_THE_END.search(stem)
    return int(found[1]) if found else None
