"""The progress bar at the bottom of the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from posewire.cli.account import Account
from posewire.cli.console import plain_console
from posewire.cli.failures import is_watched
from posewire.cli.quantities import quantity

__all__ = ["Bar", "bar", "waiting"]


class Bar:
    """Shows the progress of a command; this one shows nothing, for pipes and `--quiet`."""

    def show(self, done: int, note: str = "") -> None:
        """Show how many items are done, and a note."""

    def account(self, account: Account) -> None:
        """Show the progress of a stream."""


class _RichBar(Bar):
    def __init__(self, progress: Progress, description: str, total: int | None) -> None:
        self._progress = progress
        self._task = progress.add_task(description, total=total, note="")

    def show(self, done: int, note: str = "") -> None:
        self._progress.update(self._task, completed=done, note=note)

    def account(self, account: Account) -> None:
        people = quantity(account.people, "person", "people")
        note = f"{account.fps:5.1f} fps  {account.recent_latency_ms:5.0f} ms  {people}"
        if account.reconnects:
            note += f"  reconnected {account.reconnects} x"
        self.show(account.frames, note if account.tracked > 1 else "")


@contextmanager
def bar(description: str, total: int | None, *, quiet: bool) -> Iterator[Bar]:
    """A progress bar on standard error; none if quiet or not in a terminal."""
    if quiet or not is_watched():
        yield Bar()
        return
    columns = [
        TextColumn("{task.description}"),
        BarColumn() if total is not None else SpinnerColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        *([TimeRemainingColumn()] if total is not None else []),
    ]
    with Progress(*columns, console=plain_console(stderr=True), transient=True) as progress:
        yield _RichBar(progress, description, total)


@contextmanager
def waiting(what: str, *, quiet: bool) -> Iterator[None]:
    """A spinner while something takes time."""
    if quiet or not is_watched():
        yield
        return
    with plain_console(stderr=True).status(what):
        yield
