"""Text is printed unchanged, and standard error may be closed."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import sys
import time

import pytest
from rich.table import Table

from posewire.cli.account import Account
from posewire.cli.console import plain_console
from posewire.cli.failures import say
from posewire.cli.progress import bar, waiting

ODD = "a[/b] [bold]c[/bold] :smile:"


def test_names_are_neither_markup_nor_emoji(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("name", ODD)
    plain_console().print(ODD)
    plain_console().print(table)
    plain_console(stderr=True).print(ODD)
    said = capsys.readouterr()
    assert said.out.count(ODD) == 2
    assert said.err.count(ODD) == 1


def test_lines_in_a_file_are_as_long_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    plain_console().print("x" * 300)
    assert capsys.readouterr().out == "x" * 300 + "\n"


def test_lines_in_a_file_end_without_blanks(capsys: pytest.CaptureFixture[str]) -> None:
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_row("a", "short")
    table.add_row("b", "much longer")
    plain_console().print(table)
    assert capsys.readouterr().out == "a  short\nb  much longer\n"


def test_what_cannot_be_said_goes_nowhere(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Above all, it must not end up among the results."""
    monkeypatch.setattr(sys, "stderr", None)  # as `2>&-` leaves it
    say("hello")
    with waiting("connecting", quiet=False), bar("tracking", 3, quiet=False) as shown:
        shown.show(1)
    plain_console(stderr=True).print("hello")
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("is_terminal", "quiet", "is_shown"),
    [
        (True, False, True),
        (True, True, False),  # --quiet
        (False, False, False),  # a pipe or a file
    ],
)
def test_progress_is_shown_to_whoever_watches(
    is_terminal: bool, quiet: bool, is_shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: is_terminal)
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    with waiting("connecting", quiet=quiet):
        pass
    with bar("tracking", 3, quiet=quiet) as shown:
        shown.account(Account(tracked=2, people=4, reconnects=5))
    said = terminal.getvalue()
    for each in ("connecting", "tracking", "2/3", " fps ", "4 people", "reconnected 5 x"):
        assert (each in said) == is_shown
    assert said == "" or is_shown


@pytest.mark.parametrize("shown", ["bar", "spinner", "text"])
def test_a_terminal_that_closes_ends_nothing(shown: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither in this thread nor in the one that draws."""
    ours, theirs = pty.openpty()
    monkeypatch.setenv("TERM", "xterm")
    terminal = os.fdopen(theirs, "w")
    monkeypatch.setattr(sys, "stderr", terminal)
    if shown == "bar":
        with bar("tracking", 3, quiet=False) as progress:
            progress.show(1)
            os.close(ours)
            progress.show(2)
            say("hello")
            time.sleep(0.15)  # it draws ten times a second
    elif shown == "spinner":
        with waiting("connecting", quiet=False):
            os.close(ours)
            say("hello")
    else:
        os.close(ours)
        plain_console(stderr=True).print("hello")
        say("hello")
    assert sys.stderr is terminal
    with pytest.raises(OSError, match="Input/output"):  # what was left over; else the terminal is not gone
        print("x" * 100_000, file=terminal, flush=True)
    with contextlib.suppress(OSError):
        terminal.close()
