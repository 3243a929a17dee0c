"""Shared by the benchmark's commands: flags, one-line error messages, reports as text and JSON."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias

import typer

from posewire.cli.failures import UsageError, expected_failures
from posewire.cli.outputs import check_outputs
from posewire.output_files import written_whole

__all__ = ["JsonFlag", "Report", "check_json", "failures_in_one_line", "mistakes_of_usage", "show"]

_STDOUT = Path("-")

JsonFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--json", help="File for the figures as JSON; - for standard output.")
]


class Report(Protocol):
    """Results that can be shown."""

    def as_text(self) -> str:
        """Human-readable lines."""
        ...

    def as_json(self) -> dict[str, Any]:
        """Plain values for JSON."""
        ...


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """Turn expected errors into one line on standard error and exit status 1 (2 for wrong usage)."""
    try:
        with expected_failures():
            yield
    except ModuleNotFoundError as error:
        print(f"posewire: this needs the package {error.name}: pip install 'posewire[server]'", file=sys.stderr)
        raise typer.Exit(1) from None
    except typer.Exit:  # a subclass of RuntimeError
        raise
    except (ValueError, RuntimeError) as error:
        print(f"posewire: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@contextmanager
def mistakes_of_usage() -> Iterator[None]:
    """Report invalid values as wrong usage, while options are built from flags.

    Raises:
        UsageError: with the message of a `ValueError` that the options raised.
    """
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_json(file: Path | None) -> None:
    """Check that `show` can write there, before minutes of measuring.

    Raises:
        CommandError, OutputError: it cannot.
    """
    if file != _STDOUT:
        check_outputs({"--json": file})


def show(report: Report, json_file: Path | None) -> None:
    """Print a report, and write it as JSON if a file is given."""
    if json_file is not None:
        text = json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n"
        if json_file == _STDOUT:
            print(text, end="")
            return
        # Before printing, since the reader of standard output may close it.
        with written_whole(json_file) as file:
            file.write(text)
    print(report.as_text())
