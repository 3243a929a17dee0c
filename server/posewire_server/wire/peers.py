"""Origins of calls, in gRPC's form."""

from __future__ import annotations

__all__ = ["host_of"]


def host_of(peer: str) -> str:
    """The peer `ipv4:HOST:PORT` without its port, which differs between the connections of one host."""
    return peer.rpartition(":")[0]
