"""The command line, `posewire`."""

from __future__ import annotations

__all__ = ["main"]


def main() -> None:
    """Run the program; the entry point of the `posewire` script."""
    from posewire.cli.application import app

    app(prog_name="posewire")
