"""Reading keys, certificates, tokens and settings whole: a wrong file may be huge, and a device has no end."""

from __future__ import annotations

from pathlib import Path

__all__ = ["read_small_file", "read_small_text"]

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


def read_small_text(file: Path) -> str:
    """The same as text: UTF-8, with or without the mark with which editors on Windows begin files.

    Raises:
        OSError: it cannot be read.
        UnicodeDecodeError: it is no UTF-8.
        ValueError: it is larger. The message does not name it.
    """
    return read_small_file(file).decode("utf-8-sig")
