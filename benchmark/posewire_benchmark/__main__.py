"""`python -m posewire_benchmark`: the same program as `posewire bench`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from posewire.cli.arguments import StrictGroup
from posewire.cli.failures import CommandError, UsageError
from posewire.cli.outputs import make_folder
from posewire_benchmark.command_line import failures_in_one_line
from posewire_benchmark.load.command import load
from posewire_benchmark.roofline.command import roofline
from posewire_benchmark.service.command import service

__all__ = ["app"]

_DEFAULT = "service"


class _ServiceByDefault(StrictGroup):
    """`posewire bench --frames 100` means `posewire bench service --frames 100`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See the base class; its context is of typer's own copy of click."""
        if not args or (args[0].startswith("-") and args[0] != "--help"):
            args = [_DEFAULT, *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=_ServiceByDefault,
    help="Measure posewire on this machine.",
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.command()(service)
app.command()(load)
app.command()(roofline)


@app.command(name="all")
def everything(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the figures and their tables.")] = Path(
        "bench-results"
    ),
    only: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Name of a benchmark to run; repeatable (default: all).")
    ] = None,
) -> None:
    """Run every benchmark of docs/benchmarks.md for a CPU, and print its tables: about twelve minutes."""
    with failures_in_one_line():
        from posewire_benchmark.suite import CPU_SUITE, run_suite

        known = [step.name for step in CPU_SUITE]
        unknown = [name for name in only or () if name not in known]
        if unknown:
            raise UsageError(f"unknown benchmark {', '.join(unknown)}; there are {', '.join(known)}")
        make_folder(out)
        failed = run_suite(tuple(step for step in CPU_SUITE if not only or step.name in only), out)
        if (out / "tables.md").exists():
            print((out / "tables.md").read_text(encoding="utf-8"))
        if failed:
            raise CommandError(f"{', '.join(failed)} failed; see above")


if __name__ == "__main__":
    app(prog_name="python -m posewire_benchmark")
