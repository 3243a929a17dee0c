"""Headers of HTTP responses: which bytes of which version of a file they carry."""

from __future__ import annotations

import re
from email.message import Message
from typing import NamedTuple

__all__ = ["ByteRange", "part_of", "version_of", "whole_of"]


class ByteRange(NamedTuple):
    """Which bytes of a file a response carries: from `start` to before `end`, of `total`; None: the server omits it."""

    start: int
    end: int | None
    total: int | None


def whole_of(headers: Message) -> ByteRange:
    """What a response with status 200 carries: the whole file."""
    length = _whole_number(headers.get("Content-Length", ""))
    return ByteRange(0, length, length)


def part_of(headers: Message) -> ByteRange | None:
    """What a response with status 206 carries, which may be less than requested; None if the header is invalid."""
    found = re.fullmatch(r"bytes ([0-9]+)-([0-9]+)/([0-9]+|\*)", headers.get("Content-Range", ""))
    start, last, total = (_whole_number(number) for number in found.groups()) if found else (None, None, None)
    if start is None or last is None or last < start or (total is not None and last >= total):
        return None
    return ByteRange(start, last + 1, total)


def version_of(headers: Message) -> str:
    """The server's validator of this version of the file. Weak ETags are ignored: they do not vouch for every byte."""
    tag = str(headers.get("ETag", ""))
    return tag if tag and not tag.startswith("W/") else str(headers.get("Last-Modified", ""))


def _whole_number(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,18}", text) else None
