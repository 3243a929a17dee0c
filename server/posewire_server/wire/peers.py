"""Origins of calls, in gRPC's form."""

from __future__ import annotations

__all__ = ["caller_key", "host_of"]


def host_of(peer: str) -> str:
    """The peer `ipv4:HOST:PORT` without its port, which differs between the connections of one host."""
    return peer.rpartition(":")[0]


def caller_key(name: str, peer: str) -> str:
    """Who calls: the token, by its name, or without tokens the host."""
    return f"token:{name}" if name else host_of(peer)
