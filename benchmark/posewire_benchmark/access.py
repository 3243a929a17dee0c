"""How load generators reach the server: access data passed as JSON, and one connection per stream."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from posewire._channels.access_tokens import read_token
from posewire._channels.connections import Connections
from posewire.cli.access import ServerAccess

__all__ = ["access_fields", "access_from", "own_connection"]

_FILES = ("ca", "cert", "key")


def access_fields(access: ServerAccess) -> dict[str, Any]:
    """The fields of an access as plain values for another process. They include the token: pass them by pipe only."""
    fields = {field.name: getattr(access, field.name) for field in dataclasses.fields(access)}
    token = {"token": read_token(access.token) if isinstance(access.token, Path) else access.token}
    return fields | token | {name: None if fields[name] is None else str(fields[name]) for name in _FILES}


def access_from(fields: dict[str, Any]) -> ServerAccess:
    """The inverse of `access_fields`."""
    files = {name: None if fields[name] is None else Path(fields[name]) for name in _FILES}
    return ServerAccess(**fields | files | {"addresses": tuple(fields["addresses"])})


def own_connection(access: ServerAccess) -> Connections:
    """A separate connection, as a camera has; by default, gRPC channels of one program share connections."""
    return access.connections(options=(("grpc.use_local_subchannel_pool", 1),))
