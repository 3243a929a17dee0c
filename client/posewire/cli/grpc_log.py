"""What gRPC itself writes to standard error."""

from __future__ import annotations

import os

__all__ = ["hush_grpc"]


def hush_grpc() -> None:
    """Silence gRPC's own log: invalid calls could each add a line to a server's log, as fast as they arrive.

    gRPC reads the environment when it is imported; a GRPC_VERBOSITY that is already set is kept.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
