"""Headers of JPEG and PNG files, read without decoding a pixel.

Decoders allocate the size in the header, and fill in missing data. So size, completeness and, for PNG, checksums are
checked here first.

Sources: ITU-T T.81 (JPEG) annex B; W3C "Portable Network Graphics" (third edition), sections 5 and 11.
"""

from __future__ import annotations

import struct
import zlib
from typing import NamedTuple

from posewire.jpeg_segments import END_OF_IMAGE, START_OF_SCAN, jpeg_segments
from posewire_server.errors import Undecodable

__all__ = ["JpegHeader", "jpeg_header", "png_size"]

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"

# Start of frame: all of 0xC0..0xCF except DHT, JPG and DAC.
_START_OF_FRAME = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_BASELINE = 0xC0
_ADOBE = b"Adobe"  # its marker may say that the colours are not YCbCr

# Each scan of a progressive JPEG decodes all pixels again, also if it takes only a few bytes; encoders write about ten
# scans.
_MAX_SCANS = 20
# A few per scan, and metadata in pieces of 64 kB.
_MAX_SEGMENTS = 5_000
# Compressed chunks of a PNG besides its picture, each of which a decoder may unpack to megabytes; programs write one or
# two.
_PACKED = (b"zTXt", b"iTXt", b"iCCP")
_MAX_PACKED = 16
# Encoders divide a picture into chunks of 8 kB or more.
_MAX_CHUNKS = 20_000


class JpegHeader(NamedTuple):
    """The header of a JPEG.

    Attributes:
        width: in pixels.
        height: in pixels.
        is_common: whether it is of the kind that cameras send: baseline, one scan, YCbCr sampled 4:4:4, 4:2:2 or 4:2:0.
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
    scans, at = 0, 2
    for count, (marker, start, end) in enumerate(jpeg_segments(data)):
        if marker == END_OF_IMAGE:
            break
        if not scans and data[at : start - 1].strip(b"\xff"):  # fill bytes are allowed
            raise Undecodable(f"the JPEG is damaged: byte {at} should start a marker")
        if count == _MAX_SEGMENTS:
            raise Undecodable(f"the JPEG has more than {_MAX_SEGMENTS} segments; save it as a baseline JPEG")
        if marker == START_OF_SCAN:
            if not scans:
                is_common = is_common and _ADOBE not in data[:end]
            scans += 1
            if scans > _MAX_SCANS:
                raise Undecodable(f"the JPEG has more than {_MAX_SCANS} scans; save it as a baseline JPEG")
        elif marker in _START_OF_FRAME and not scans:
            if end < start + 8 or start + 7 > len(data):
                raise Undecodable("the JPEG is cut off in its header")
            height, width = struct.unpack_from(">HH", data, start + 3)
            size = width, height
            is_common = marker == _BASELINE and data[start + 2] == 8 and _is_common(data[start + 7 : end])
        at = end
    else:
        raise Undecodable("the JPEG is cut off or damaged: its end marker is missing")
    if not scans:
        raise Undecodable("the JPEG contains no picture")
    if size is None or 0 in size:
        raise Undecodable("the JPEG's header gives no size")
    return JpegHeader(*size, is_common and scans == 1)


def _is_common(components: bytes) -> bool:
    """Whether the components in a frame header are YCbCr with a common subsampling."""
    if components[:1] != b"\x03" or len(components) != 10:
        return False
    names, sampling = components[1::3], components[2::3]
    return names == b"\x01\x02\x03" and sampling[0] in (0x11, 0x21, 0x22) and sampling[1:] == b"\x11\x11"


def png_size(data: bytes) -> tuple[int, int]:
    """(width, height) of a complete PNG with correct checksums.

    Raises:
        Undecodable: not a PNG, cut off or damaged, or with metadata or chunks that would take longer to read than its
            picture.
    """
    if data[:8] != _PNG_SIGNATURE:
        raise Undecodable("the data is not a PNG: its signature is missing")
    size: tuple[int, int] | None = None
    at, packed, chunks = 8, 0, 0
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
        chunks += 1
        if chunks == _MAX_CHUNKS:
            raise Undecodable(f"the PNG has more than {_MAX_CHUNKS} chunks; save it with longer ones")
        packed += name in _PACKED
        if packed > _MAX_PACKED:
            raise Undecodable(f"the PNG has more than {_MAX_PACKED} packed texts; save it without its metadata")
        at = end
