"""The segments of a JPEG: what it is made of, told apart without decoding a pixel.

Source: ITU-T T.81, annex B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["END_OF_IMAGE", "START_OF_SCAN", "JpegSegment", "jpeg_segments"]

START_OF_SCAN = 0xDA
END_OF_IMAGE = 0xD9

# FF and what makes a segment of it: not 00 (FF is data then), FF (it fills up), or a marker without a segment, that is
# TEM, RST0..7 and SOI.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")


class JpegSegment(NamedTuple):
    """A marker and the parameters that belong to it.

    Attributes:
        marker: its second byte, such as `START_OF_SCAN`.
        start: where the parameters begin, with their length in two bytes.
        end: where the next segment, or entropy-coded data, begins; beyond the data, if the segment is cut off.
    """

    marker: int
    start: int
    end: int


def jpeg_segments(data: bytes) -> Iterator[JpegSegment]:
    """The segments of a JPEG from its first byte to its end; without an `END_OF_IMAGE` as the last, it is cut off.

    The markers of a thumbnail in the header do not count, nor do those in whatever follows the end, such as the video
    of a motion photo. Bytes between segments that are none are skipped, as decoders do. Takes linear time.
    """
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, start = data[found.end() - 1], found.end()
        if marker == END_OF_IMAGE:
            yield JpegSegment(marker, start, start)
            return
        # A length counts itself; decoders take a lesser one for an empty segment.
        at = start + max(2, int.from_bytes(data[start : start + 2], "big"))
        yield JpegSegment(marker, start, at)
