"""What gRPC itself writes to standard error."""

from __future__ import annotations

import os

__all__ = ["hush_grpc"]


def hush_grpc() -> None:
    """Let gRPC write nothing: to a server's log it would add a line for many a call that is none, as fast as they come.

    It looks at the environment when it is imported; a GRPC_VERBOSITY that somebody has set is left alone.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
