"""Limits on the size of a request, not counting its picture.

Many small fields take far longer to parse than a picture of the same size: 20 million empty boxes fit into 40 MiB, and
would delay all streams for seconds. So the fields are counted before the message is parsed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

from google.protobuf.descriptor import Descriptor
from google.protobuf.message import DecodeError

from posewire.v1 import pose_tracking_service_pb2, track_pb2
from posewire_server.errors import InvalidRequest

__all__ = ["BULK_OF_CALLS", "MOST_TOKEN_BYTES", "Bulk", "check_size"]

Bulk: TypeAlias = Mapping[int, "int | Bulk"]
"""Numbers of the large fields of a message, each with the number of bytes that do not count; or, for a field that is a
message, its own `Bulk`."""

MOST_TOKEN_BYTES = 2**20
"""A little more than a resume token with the maximum number of people."""

# A thousand boxes take 27 KiB. Fields of two bytes each, without end, take a millisecond to parse.
_MOST_BYTES = 64 * 2**10
_MOST_FIELDS = 1000
_ALL = 2**31
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def _bulk(message: Descriptor | None, free: Mapping[str, int]) -> Bulk:
    """The `Bulk` of a message; `free` has the bytes that do not count, by field path, such as `frame.data`."""
    assert message is not None  # a field with inner fields is a message
    found: dict[int, int | Bulk] = {}
    for name in dict.fromkeys(path.partition(".")[0] for path in free):
        field = message.fields_by_name[name]
        inner = {path.partition(".")[2]: most for path, most in free.items() if path.startswith(f"{name}.")}
        found[field.number] = _bulk(field.message_type, inner) if inner else free[name]
    return found


BULK_OF_CALLS: Mapping[str, Bulk] = {
    "Track": _bulk(
        track_pb2.TrackRequest.DESCRIPTOR,
        {"frame.data": _ALL, "config.resume.last_frame": _ALL, "config.resume.token": MOST_TOKEN_BYTES},
    ),
    "EstimatePoses": _bulk(pose_tracking_service_pb2.EstimatePosesRequest.DESCRIPTOR, {"data": _ALL}),
}
"""For the requests of each call; other calls have none."""


def check_size(data: bytes, bulk: Bulk) -> None:
    """Count the bytes and fields of a message. Of inner messages, only those in `bulk` are opened.

    Args:
        data: the message.
        bulk: what does not count.

    Raises:
        InvalidRequest: the rest has too many bytes or fields.
        DecodeError: it is not a valid message, or has groups, which none of ours has.
    """
    if len(data) <= _MOST_BYTES:
        return
    try:
        _Count(data).walk(0, len(data), bulk)
    except IndexError:
        raise DecodeError("it is cut off") from None


class _Count:
    """Counts the bytes and fields of a message, without its bulk."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._bytes = self._fields = 0

    def walk(self, at: int, end: int, bulk: Bulk) -> None:
        """Count the fields that lie in `at..end`."""
        while at < end:
            start = at
            tag, at = self._varint(at)
            number, kind = tag >> 3, tag & 7
            free, inner = bulk.get(number, 0), 0
            if kind == _VARINT:
                _, at = self._varint(at)
            elif kind in (_FIXED64, _FIXED32):
                at += 8 if kind == _FIXED64 else 4
            elif kind == _BYTES:
                length, at = self._varint(at)
                if length > end - at:
                    raise DecodeError("a field is longer than the message")
                inner = length if not isinstance(free, int) else min(length, free)
                at += length
            else:
                raise DecodeError(f"no field has the wire type {kind}")
            self._add(at - start - inner)
            if inner and not isinstance(free, int):
                self.walk(at - inner, at, free)
        if at != end:
            raise DecodeError("its last field is cut off")

    def _varint(self, at: int) -> tuple[int, int]:
        """The number that begins at `at`, and where it ends."""
        value = self._data[at]
        if value < 0x80:  # the usual case
            return value, at + 1
        value &= 0x7F
        for shift in range(7, 70, 7):
            at += 1
            byte = self._data[at]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value, at + 1
        raise DecodeError("a number has more than ten bytes")

    def _add(self, count: int) -> None:
        self._bytes += count
        self._fields += 1
        if self._bytes > _MOST_BYTES or self._fields > _MOST_FIELDS:
            raise InvalidRequest(
                f"a request has more than {_MOST_BYTES} bytes, or {_MOST_FIELDS} fields, besides its picture and a "
                f"resume token of up to {MOST_TOKEN_BYTES} bytes; send a token as it was given, fewer boxes, and no "
                "unknown fields"
            )
