"""What goes wrong in an expected way ends in one line on standard error and an exit status, never in a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import typer

from posewire.cli.interrupts import terminated_as_interrupted
from posewire.errors import InvalidSettings, PosewireError

__all__ = ["CommandError", "ExitStatus", "UsageError", "as_flags", "expected_failures", "in_words", "is_watched", "say"]


class ExitStatus:
    """Other than 0, which means that every frame was tracked, or whatever else was asked for is done."""

    INCOMPLETE = 1
    USAGE = 2
    INTERRUPTED = 130


class CommandError(Exception):
    """The command cannot do what it was asked to; the message says why and what to do."""


class UsageError(CommandError):
    """Flags that do not go together, or have values that make no sense."""


def as_flags(names: Iterable[str], joint: str = ", ") -> str:
    """`--token-file, --tls`, of the parameters `token_file` and `tls`."""
    return joint.join(f"--{name.replace('_', '-')}" for name in names)


def say(message: str) -> None:
    """A line for the person at the terminal: on standard error, so that standard output stays for results.

    Nothing where nobody can read it: that is no reason to end otherwise.
    """
    if sys.stderr is not None:  # closed (2>&-): `print` would take standard output
        with suppress(OSError):
            print(message, file=sys.stderr)


def is_watched() -> bool:
    """Whether standard error is open, and a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def expected_failures() -> Iterator[None]:
    """Turn expected exceptions into messages and exit statuses: 2 for wrong usage, 130 for an interrupt, else 1.

    SIGTERM and SIGHUP are interrupts as Ctrl-C is: a command that ended on the spot would leave behind its processes,
    temporary files, and a terminal without a cursor.
    """
    try:
        with terminated_as_interrupted():
            yield
    except (UsageError, InvalidSettings) as error:
        raise _exit(error, ExitStatus.USAGE) from None
    except (CommandError, PosewireError) as error:
        raise _exit(error, ExitStatus.INCOMPLETE) from None
    except OSError as error:
        raise _exit(in_words(error), ExitStatus.INCOMPLETE) from None
    except KeyboardInterrupt:
        raise _exit("interrupted", ExitStatus.INTERRUPTED) from None


def in_words(error: OSError) -> str:
    """What an error of the operating system says to people: Python's own text begins with a number."""
    if isinstance(error, BrokenPipeError):
        return "standard output is closed: whoever read it wants no more"
    what = error.strerror or str(error)
    return what if error.filename is None else f"{os.fspath(error.filename)}: {what}"


def _exit(message: object, status: int) -> typer.Exit:
    say(f"posewire: {message}")
    return typer.Exit(status)
