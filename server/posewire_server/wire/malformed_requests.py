"""Reporting malformed and far too large requests as the client's error, not the server's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf.message import DecodeError

from posewire_server.errors import InvalidRequest
from posewire_server.wire.message_size import BULK_OF_CALLS, check_size

__all__ = ["request_reader"]


def request_reader(method: str, deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """A deserializer that raises `InvalidRequest` for malformed or too large requests.

    Args:
        method: of the call, with its service: `/posewire.v1.PoseTrackingService/Track`.
        deserialize: the message's own deserializer.
    """
    bulk = BULK_OF_CALLS.get(method.rpartition("/")[2], {})  # no other service has calls of these names

    def read(data: bytes) -> Any:
        try:
            check_size(data, bulk)
            return deserialize(data)
        except DecodeError as error:
            raise InvalidRequest(f"a request of {len(data)} bytes is not a valid message for this call") from error

    return read
