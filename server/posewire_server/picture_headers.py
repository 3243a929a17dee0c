"""What JPEG and PNG files say of themselves, read without decoding a pixel.

Decoders allocate what the header announces and make the best of what is missing. So size, completeness and, for PNG,
checksums are looked at here first.

Sources: ITU-T T.81 (JPEG) annex B; W3C "Portable Network Graphics" (third edition), sections 5 and 11.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from posewire_server.errors import Undecodable

__all__ = ["JpegHeader", "jpeg_header", "png_size"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Start of frame: all of 0xC0..0xCF but DHT, JPG and DAC.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE = 0xC0
_ADOBE = b"Adobe"  # its marker may say that the colours are not YCbCr
_START_OF_SCAN = 0xDA
_END_OF_IMAGE = 0xD9
_WITHOUT_LENGTH = frozenset((0x01, *range(0xD0, 0xD9)))

# A progressive JPEG decodes all its pixels anew for each scan; encoders write about ten.
_MAX_SCANS = 100


class JpegHeader(NamedTuple):
    """What the header of a JPEG says.

    Attributes:
        width: in pixels.
        height: in pixels.
        is_common: whether it is what cameras send: baseline, one scan, colours as YCbCr sampled 4:4:4, 4:2:2 or 4:2:0.
    """

    width: int
    height: int
    is_common: bool


def jpeg_header(data: bytes) -> JpegHeader:
    """The header of a complete JPEG.

    Raises:
        Undecodable: not a JPEG, cut off, or with more scans than any encoder writes.
    """
    if data[:2] != b"\xff\xd8":
        raise Undecodable("the data is not a JPEG: it does not start with FF D8")
    size: tuple[int, int] | None = None
    is_common = False
    at = 2
    while True:
        marker, at = _next_marker(data, at)
        if marker == _END_OF_IMAGE:
            raise Undecodable("the JPEG holds no picture")
        if marker in _WITHOUT_LENGTH:
            continue
        if at + 2 > len(data):
            raise Undecodable("the JPEG is cut off in its header")
        (length,) = struct.unpack_from(">H", data, at)
        if marker in _START_OF_FRAME:
            if length < 8 or at + 7 > len(data):
                raise Undecodable("the JPEG is cut off in its header")
            height, width = struct.unpack_from(">HH", data, at + 3)
            size = width, height
            is_common = marker == _BASELINE and data[at + 2] == 8 and _is_common(data[at + 7 : at + length])
        at += length
        if marker == _START_OF_SCAN:
            break
    if size is None or 0 in size:
        raise Undecodable("the JPEG's header gives no size")
    # Searched for from here, since a thumbnail in the header has an end of its own.
    if data.find(bytes((0xFF, _END_OF_IMAGE)), at) < 0:
        raise Undecodable("the JPEG is cut off: its end marker is missing")
    scans = 1 + data.count(bytes((0xFF, _START_OF_SCAN)), at)
    if scans > _MAX_SCANS:
        raise Undecodable(f"the JPEG has more than {_MAX_SCANS} scans; save it as a baseline JPEG")
    return JpegHeader(*size, is_common and scans == 1 and _ADOBE not in data[:at])


def _is_common(components: bytes) -> bool:
    """Whether a frame header's list of components is that of YCbCr, subsampled in a common way."""
    if components[:1] != b"\x03" or len(components) != 10:
        return False
    names, sampling = components[1::3], components[2::3]
    return names == b"\x01\x02\x03" and sampling[0] in (0x11, 0x21, 0x22) and sampling[1:] == b"\x11\x11"


def _next_marker(data: bytes, at: int) -> tuple[int, int]:
    """The marker at `at`, and where its segment begins."""
    if at >= len(data):
        raise Undecodable("the JPEG is cut off in its header")
    if data[at] != 0xFF:
        raise Undecodable(f"the JPEG is damaged: byte {at} should start a marker")
    while at < len(data) and data[at] == 0xFF:  # fill bytes are allowed
        at += 1
    if at >= len(data):
        raise Undecodable("the JPEG is cut off in its header")
    return data[at], at + 1


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a complete PNG whose checksums are right.

    Raises:
        Undecodable: not a PNG, cut off or damaged.
    """
    if data[:8] != _PNG_SIGNATURE:
        raise Undecodable("the data is not a PNG: its signature is missing")
    size: tuple[int, int] | None = None
    at = 8
    while True:
        if at + 12 > len(data):
            raise Undecodable("the PNG is cut off: its end chunk is missing")
        (length,) = struct.unpack_from(">I", data, at)
        name = data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data):
            raise Undecodable(f"the PNG is cut off in its chunk {name!r}")
        if zlib.crc32(memoryview(data)[at + 4 : end - 4]) != struct.unpack_from(">I", data, end - 4)[0]:
            raise Undecodable(f"the PNG is damaged: the checksum of its chunk {name!r} is wrong")
        if size is None:
            if name != b"IHDR" or length != 13:
                raise Undecodable("the PNG does not start with its header chunk")
            width, height = struct.unpack_from(">II", data, at + 8)
            if 0 in (width, height):
                raise Undecodable("the PNG's header gives no size")
            size = width, height
        if name == b"IEND":
            return size
        at = end
