"""`python -m posewire_server.benchmark`: the same program as `posewire bench`."""

from __future__ import annotations

from typing import Any

import typer
from typer.core import TyperGroup

from posewire_server.benchmark.load.command import load
from posewire_server.benchmark.service.command import service

__all__ = ["app"]

_DEFAULT = "service"


class _ServiceByDefault(TyperGroup):
    """`posewire bench --frames 100` means `posewire bench service --frames 100`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See the base class, whose context belongs to click or to typer's own copy of it."""
        if not args or args[0] not in (*self.commands, "--help"):
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

if __name__ == "__main__":
    app(prog_name="python -m posewire_server.benchmark")
