"""`python -m posewire_server.gpu_check`: every check and measurement for a GPU, in less than eight minutes.

Sections are independent: one that fails says so, and the others go on.
"""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Annotated

import typer

__all__ = ["app", "gpu_check"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def gpu_check(
    device: Annotated[
        str, typer.Option(help="cuda or cuda:N; cpu tries the program itself, on less of everything.")
    ] = "cuda",
    only: Annotated[
        list[str] | None, typer.Option(metavar="SECTION", help="One of the sections; may be given again.")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the figures there as JSON.")] = None,
) -> None:
    """Check and measure a GPU; the exit status is 1 if a section failed."""
    from posewire_models.inference import select_device
    from posewire_server.gpu_check.sections import SECTIONS, Bench, run_sections

    unknown = [name for name in only or () if name not in SECTIONS]
    if unknown:
        print(f"unknown section {', '.join(unknown)}; there are {', '.join(SECTIONS)}", file=sys.stderr)
        raise typer.Exit(2)
    try:
        bench = Bench(select_device(device))
        if json_file is not None:
            _check_writable(json_file)
    except ValueError as error:
        print(error, file=sys.stderr)
        raise typer.Exit(2) from None
    logging.basicConfig(level=logging.WARNING, format="  %(name)s: %(message)s")
    report = run_sections(bench, only or list(SECTIONS), lambda line: print(line, flush=True))
    if json_file is not None:
        json_file.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    if any("error" in section for section in report.values()):
        raise typer.Exit(1)


def _check_writable(file: Path) -> None:
    """Raises `ValueError` now: when all has been measured, it would be too late. Leaves nothing that was not there."""
    try:
        is_new = not file.exists()
        file.open("a", encoding="utf-8").close()
        if is_new:
            file.resolve().unlink()  # a run that is broken off has no figures
    except OSError as error:
        raise ValueError(f"cannot write {file}: {error.strerror}; give --json another file") from error


if __name__ == "__main__":
    app(prog_name="python -m posewire_server.gpu_check")
