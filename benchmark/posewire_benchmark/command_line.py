"""What the commands of the benchmark share: flags, one-line mistakes, reports for people and for programs."""

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
    """Figures that can be shown."""

    def as_text(self) -> str:
        """Lines for people."""
        ...

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        ...


@contextmanager
def failures_in_one_line() -> Iterator[None]:
    """Turn what may go wrong into one line on standard error and exit status 1 (2 for wrong usage)."""
    try:
        with expected_failures():
            yield
    except ModuleNotFoundError as error:
        print(f"posewire: this needs the package {error.name}: pip install 'posewire[server]'", file=sys.stderr)
        raise typer.Exit(1) from None
    except typer.Exit:  # to Python it is a RuntimeError
        raise
    except (ValueError, RuntimeError) as error:
        print(f"posewire: {error}", file=sys.stderr)
        raise typer.Exit(1) from None


@contextmanager
def mistakes_of_usage() -> Iterator[None]:
    """While options are made of flags: values that they do not take are wrong usage.

    Raises:
        UsageError: the options raised a `ValueError`, which says the same.
    """
    try:
        yield
    except ValueError as error:
        raise UsageError(str(error)) from error


def check_json(file: Path | None) -> None:
    """Find out before minutes of measuring that `show` could not write there.

    Raises:
        CommandError, OutputError: what is wrong with it.
    """
    if file != _STDOUT:
        check_outputs({"--json": file})


def show(report: Report, json_file: Path | None) -> None:
    """Write a report where that is asked for, and print it."""
    if json_file is not None:
        text = json.dumps(report.as_json(), indent=2, allow_nan=False) + "\n"
        if json_file == _STDOUT:
            print(text, end="")
            return
        # First: who reads what is printed may have had enough.
        with written_whole(json_file) as file:
            file.write(text)
    print(report.as_text())
