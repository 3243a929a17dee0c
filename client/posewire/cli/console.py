"""Where tables are printed."""

from __future__ import annotations

from rich.console import Console

__all__ = ["WIDEST", "plain_console"]

WIDEST = 1000
"""Of a table, in characters: where there is less room, Rich cuts numbers off."""


def plain_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Prints text as it is: what files and networks are called may look like Rich's markup and emoji.

    Args:
        stderr: in place of standard output.
        width: of a line; None: that of the terminal. In a pipe or a file, lines are as long as they are.
    """
    console = Console(stderr=stderr, width=width, highlight=False, markup=False, emoji=False)
    if width is None and not console.is_terminal:
        console.width = WIDEST
    return console
