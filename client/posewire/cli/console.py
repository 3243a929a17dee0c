"""Text for terminals, pipes and files."""

from __future__ import annotations

import contextlib
import sys
from typing import IO, TextIO, cast

from rich.console import Console

__all__ = ["WIDEST", "plain_console"]

WIDEST = 1000
"""Width of the widest table, in characters: where there is less room, Rich cuts numbers off."""


class _StandardError:
    """Standard error, but what can no longer be shown is lost in silence: Rich raises that wherever it stands.

    No `io.TextIOBase`: that flushes when it is collected, when standard error may be closed.
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
        with contextlib.suppress(OSError):
            self._shown.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._shown.flush()


def plain_console(*, stderr: bool = False, least_width: int = 0) -> Console:
    """Prints text as it is: what files and networks are called may look like Rich's markup and emoji.

    Args:
        stderr: in place of standard output. Its terminal may close, as `say` allows it to.
        least_width: of a line. In a terminal with less room, lines that it breaks are easier to read than columns that
            Rich cuts off. In a pipe or a file, lines are as long as they are.
    """
    file = cast(IO[str], _StandardError(sys.stderr)) if stderr and sys.stderr is not None else None
    console = Console(file=file, stderr=stderr, highlight=False, markup=False, emoji=False)
    if not console.is_terminal:
        console.width = WIDEST
    elif console.width < least_width:
        console.width = least_width
    return console
