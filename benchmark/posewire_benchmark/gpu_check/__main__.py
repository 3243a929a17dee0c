"""`python -m posewire_benchmark.gpu_check`: every check and measurement for a GPU, in less than eight minutes.

Sections are independent: if one fails, that is reported and the others continue.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Annotated

import typer

from posewire.cli.failures import UsageError, expected_failures
from posewire.cli.outputs import check_outputs
from posewire.output_files import written_whole

__all__ = ["app", "gpu_check"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def gpu_check(
    device: Annotated[
        str, typer.Option(help="Device to check: cuda or cuda:N; cpu runs a reduced check of the program itself.")
    ] = "cuda",
    only: Annotated[
        list[str] | None, typer.Option(metavar="SECTION", help="Section to run; repeatable (default: all).")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="File for the figures as JSON.")] = None,
) -> None:
    """Check and measure a GPU; the exit status is 1 if a section failed."""
    with expected_failures():
        check_outputs({"--json": json_file})
        _run(device, only, json_file)


def _run(device: str, only: list[str] | None, json_file: Path | None) -> None:
    from posewire_benchmark.gpu_check.sections import SECTIONS, Bench, run_sections
    from posewire_models.inference import select_device

    unknown = [name for name in only or () if name not in SECTIONS]
    if unknown:
        raise UsageError(f"unknown section {', '.join(unknown)}; there are {', '.join(SECTIONS)}")
    try:
        bench = Bench(select_device(device))
    except ValueError as error:
        raise UsageError(str(error)) from error
    logging.basicConfig(level=logging.WARNING, format="  %(name)s: %(message)s")
    report = run_sections(bench, only or list(SECTIONS), lambda line: print(line, flush=True))
    if json_file is not None:
        with written_whole(json_file) as file:
            file.write(json.dumps(report, indent=2) + "\n")
    if any("error" in section for section in report.values()):
        raise typer.Exit(1)


if __name__ == "__main__":
    app(prog_name="python -m posewire_benchmark.gpu_check")
