"""`python -m posewire_server`: the same program as `posewire serve`."""

from __future__ import annotations

import typer

from posewire.cli.arguments import StrictCommand
from posewire.cli.grpc_log import hush_grpc
from posewire_server.options import serve

__all__ = ["app"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command(cls=StrictCommand)(serve)

if __name__ == "__main__":
    hush_grpc()
    app(prog_name="python -m posewire_server")
