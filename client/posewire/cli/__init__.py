"""The command line, `posewire`."""

from __future__ import annotations

import sys

from posewire.cli.grpc_log import hush_grpc

__all__ = ["main"]


def main() -> None:
    """Run the program; the entry point of the `posewire` script."""
    hush_grpc()
    try:
        from posewire.cli.application import app

        app(prog_name="posewire")
    except KeyboardInterrupt:  # too early for anything to clean up
        if sys.stderr is not None:
            print("posewire: interrupted", file=sys.stderr)
        sys.exit(130)
    except OSError as error:  # the help or the version cannot be written; commands report their own errors
        from posewire.cli.failures import in_words, say

        say(f"posewire: {in_words(error)}")
        sys.exit(1)
