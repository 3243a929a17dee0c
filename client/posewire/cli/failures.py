"""Expected failures end with one line on standard error and an exit status, never with a traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

import typer

from posewire.cli.interrupts import terminated_as_interrupted
from posewire.errors import InvalidSettings, PosewireError
from posewire.os_errors import reason_of

__all__ = [
    "IMPORT_FAILURES",
    "CommandError",
    "ExitStatus",
    "UsageError",
    "as_flags",
    "expected_failures",
    "import_failure",
    "in_words",
    "is_watched",
    "say",
]

# What importing a package may raise. RuntimeError: torchvision beside a torch of another build.
IMPORT_FAILURES = (ImportError, RuntimeError)


class ExitStatus:
    """Exit statuses other than 0; 0 means that every frame was tracked, or that the command succeeded."""

    INCOMPLETE = 1
    USAGE = 2
    INTERRUPTED = 130


class CommandError(Exception):
    """The command cannot do its job; the message says why and what to do."""


class UsageError(CommandError):
    """Flags that cannot be combined, or have invalid values."""


def import_failure(what: str, error: Exception) -> CommandError:
    """One of `IMPORT_FAILURES` as a message: what cannot do its job without a package of the server, and the remedy."""
    if isinstance(error, ModuleNotFoundError):
        return CommandError(f"{what} needs the package {error.name}; install it: pip install 'posewire[server]'")
    return CommandError(f"{what}: a library cannot be loaded ({error}); install it, or the package that needs it, anew")


def as_flags(names: Iterable[str], joint: str = ", ") -> str:
    """The flags of parameters: `--token-file, --tls` for `token_file` and `tls`."""
    return joint.join(f"--{name.replace('_', '-')}" for name in names)


def say(message: str) -> None:
    """Print a line for the user on standard error, since standard output is for results.

    Errors are ignored: if nobody can read it, the command continues.
    """
    if sys.stderr is not None:  # closed (2>&-): `print` would use standard output
        with suppress(OSError):
            print(message, file=sys.stderr)


def is_watched() -> bool:
    """Whether standard error is open, and a terminal."""
    return sys.stderr is not None and sys.stderr.isatty()


@contextmanager
def expected_failures() -> Iterator[None]:
    """Turn expected exceptions into messages and exit statuses: 2 for wrong usage, 130 for an interrupt, else 1.

    SIGTERM and SIGHUP are treated like Ctrl-C: a command that ended immediately would leave behind processes, temporary
    files, and a terminal without a cursor.
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
    """A readable message for an error of the operating system: Python's own text begins with a number."""
    if isinstance(error, BrokenPipeError):
        return "standard output is closed: its reader has ended"
    what = reason_of(error)
    return what if error.filename is None else f"{os.fspath(error.filename)}: {what}"


def _exit(message: object, status: int) -> typer.Exit:
    say(f"posewire: {message}")
    return typer.Exit(status)
