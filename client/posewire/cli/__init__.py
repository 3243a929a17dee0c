"""The command line, `posewire`."""

from __future__ import annotations

import os
import sys

__all__ = ["hush_grpc", "main"]


def hush_grpc() -> None:
    """Keep gRPC's own lines off standard error, such as one for each TLS handshake that fails.

    gRPC looks at the environment when it is imported; a GRPC_VERBOSITY that somebody has set is left alone.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def main() -> None:
    """Run the program; the entry point of the `posewire` script."""
    hush_grpc()
    try:
        from posewire.cli.application import app

        app(prog_name="posewire")
    except KeyboardInterrupt:  # so early that there is nothing to finish
        if sys.stderr is not None:
            print("posewire: interrupted", file=sys.stderr)
        sys.exit(130)
