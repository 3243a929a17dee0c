"""What the commands of the benchmark share: flags, one-line mistakes, reports for people and for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, Protocol, TypeAlias

import typer

from posewire.cli.failures import expected_failures

__all__ = ["JsonFlag", "Report", "failures_in_one_line", "show"]

JsonFlag: TypeAlias = Annotated[
    Path | None, typer.Option("--json", help="Write the figures there as JSON; - is standard output.")
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


def show(report: Report, json_file: Path | None) -> None:
    """Print a report, and write it where that is asked for."""
    if json_file is None or str(json_file) != "-":
        print(report.as_text())
    if json_file is not None:
        text = json.dumps(report.as_json(), indent=2, allow_nan=False)
        if str(json_file) == "-":
            print(text)
        else:
            json_file.write_text(text + "\n", encoding="utf-8")
