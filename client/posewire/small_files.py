"""Reading keys, certificates, tokens and settings whole: a wrong file may be huge, and a device has no end."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_small_file"]

_MOST_MIB = 16


def read_small_file(file: Path) -> bytes:
    """The contents of a file of at most 16 MiB.

    Raises:
        OSError: it cannot be read.
        ValueError: it is larger. The message does not name it.
    """
    with file.open("rb") as content:
        data = content.read(_MOST_MIB * 2**20 + 1)
    if len(data) > _MOST_MIB * 2**20:
        raise ValueError(f"it has more than {_MOST_MIB} MiB; is it the right file?")
    return data
