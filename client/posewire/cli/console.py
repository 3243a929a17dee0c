"""Text for terminals, pipes and files."""

from __future__ import annotations

import contextlib
import re
import sys
from typing import IO, TextIO, cast

from rich.console import Console

__all__ = ["WIDEST", "plain_console"]

WIDEST = 1000
"""Width of the widest table, in characters: with less room, Rich would truncate numbers."""


class _Output:
    """An open file, with what Rich needs of it.

    Not an `io.TextIOBase`, which flushes when it is garbage-collected: the file may be closed by then.
    """

    def __init__(self, shown: TextIO) -> None:
        self._shown = shown

    @property
    def encoding(self) -> str:
        return self._shown.encoding

    def isatty(self) -> bool:
        return self._shown.isatty()

    def fileno(self) -> int:
        return self._shown.fileno()

    def write(self, text: str) -> int:
        self._shown.write(text)
        return len(text)

    def flush(self) -> None:
        self._shown.flush()


class _StandardError(_Output):
    """Standard error that ignores write errors, which Rich would raise anywhere."""

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            super().write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            super().flush()


class _Unpadded(_Output):
    """A pipe or file without the blanks with which Rich ends the lines of tables."""

    def write(self, text: str) -> int:
        super().write(re.sub(" +\n", "\n", text))
        return len(text)


def plain_console(*, stderr: bool = False, least_width: int = 0) -> Console:
    """A console that prints text unchanged: names of files and networks may look like Rich's markup and emoji.

    Args:
        stderr: use standard error instead of standard output; errors are ignored if its terminal closes, as in `say`.
        least_width: minimum width of a line. In a narrower terminal, wrapped lines are easier to read than columns
            truncated by Rich. In a pipe or a file, lines are not wrapped.
    """
    file = cast(IO[str], _StandardError(sys.stderr)) if stderr and sys.stderr is not None else None
    console = Console(file=file, stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDEST
        if file is None and not stderr:
            console.file = cast(IO[str], _Unpadded(cast(TextIO, console.file)))
    elif console.width < least_width:
        console.width = least_width
    return console
