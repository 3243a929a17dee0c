"""The file format of recorded streams: a sequence of records, readable up to the point where a server was killed.

    "posewire recording 2" and a line feed, then records: kind (1 byte), length of the payload (4), seconds since the
    start (8, float), CRC-32 of these and the payload (4), all little-endian, and the payload.

In files of version 1, which are read as well, the CRC-32 is of the payload alone.

Header and end are JSON; requests and responses are the messages of the Track call, without resume tokens.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any, NamedTuple

__all__ = [
    "FINISHED",
    "MAGIC",
    "UNFINISHED",
    "DamagedRecording",
    "Kind",
    "NotARecording",
    "Record",
    "pack",
    "pack_json",
    "records",
]

MAGIC = b"posewire recording 2\n"
"""The start of every file."""
_FIRST_MAGIC = b"posewire recording 1\n"
FINISHED = ".pwrec"
UNFINISHED = ".pwrec.part"
"""While a stream is being recorded; it stays if the server is killed meanwhile."""

_HEAD, _CHECKSUM = struct.Struct("<BId"), struct.Struct("<I")
_LONGEST = 2**31


class Kind(IntEnum):
    """What a record holds."""

    HEADER = 1
    REQUEST = 2
    RESPONSE = 3
    END = 4


class Record(NamedTuple):
    """One record: `time_s` since the start, `offset` in the file in bytes."""

    kind: Kind
    time_s: float
    payload: bytes
    offset: int


class NotARecording(ValueError):  # noqa: N818  it says what is wrong
    """The file is not a recording, or is of another version."""


class DamagedRecording(ValueError):  # noqa: N818  it says what is wrong
    """A record is damaged, and nothing after it can be read.

    Attributes:
        offset: byte of the file at which the record begins.
    """

    def __init__(self, path: Path, offset: int, what: str) -> None:
        super().__init__(f"{path} is damaged at byte {offset}: {what}; everything after it is lost")
        self.offset = offset


def pack(kind: Kind, time_s: float, payload: bytes) -> bytes:
    """One record."""
    head = _HEAD.pack(kind, len(payload), time_s)
    return head + _CHECKSUM.pack(_checksum(head, payload)) + payload


def pack_json(kind: Kind, time_s: float, values: dict[str, Any]) -> bytes:
    """A record of named values."""
    return pack(kind, time_s, json.dumps(values).encode())


def records(path: Path) -> Iterator[Record]:
    """The complete records, up to the point where the file is cut off, as when a server was killed.

    Raises:
        NotARecording: the file does not start like a recording.
        DamagedRecording: after the last record before the damage.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        magic = file.read(len(MAGIC))
        if magic not in (MAGIC, _FIRST_MAGIC):
            raise NotARecording(f"{path} is not a recording of a posewire stream, or is of another version")
        offset, size = len(MAGIC), _HEAD.size + _CHECKSUM.size
        while len(prefix := file.read(size)) == size:
            head, (checksum,) = prefix[: _HEAD.size], _CHECKSUM.unpack(prefix[_HEAD.size :])
            number, length, time_s = _HEAD.unpack(head)
            if number not in Kind.__members__.values() or length > _LONGEST:
                raise DamagedRecording(path, offset, "no record begins there")
            payload = file.read(length)
            if len(payload) != length:
                return
            if _checksum(head if magic == MAGIC else b"", payload) != checksum:
                raise DamagedRecording(path, offset, "the checksum of a record is wrong")
            yield Record(Kind(number), time_s, payload, offset)
            offset += size + length


def _checksum(head: bytes, payload: bytes) -> int:
    return zlib.crc32(payload, zlib.crc32(head))
