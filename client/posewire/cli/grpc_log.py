"""What gRPC itself writes to standard error."""

from __future__ import annotations

import os

__all__ = ["hush_grpc"]


def hush_grpc() -> None:
    """Let gRPC write errors only, and not a line for each TLS handshake that fails.

    It looks at the environment when it is imported; a GRPC_VERBOSITY that somebody has set is left alone.
    """
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
