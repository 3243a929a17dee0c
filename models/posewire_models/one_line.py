"""What servers, libraries and files say, for messages of ours."""

from __future__ import annotations

__all__ = ["in_one_line"]


def in_one_line(said: object, most: int = 500) -> str:
    """`said`, which may be anything, as one line of at most `most` characters, all of which a terminal shows."""
    line = " ".join(str(said).split())
    return "".join(letter if letter.isprintable() else "?" for letter in line[:most])
