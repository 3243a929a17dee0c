"""The segments of a JPEG, found without decoding pixels.

Source: ITU-T T.81, annex B.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["END_OF_IMAGE", "START_OF_SCAN", "JpegSegment", "jpeg_segments"]

START_OF_SCAN = 0xDA
END_OF_IMAGE = 0xD9

# FF and the second byte of a marker with a segment: not 00 (then FF is data), FF (a fill byte), or a marker without
# parameters: TEM, RST0..7 and SOI.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")


class JpegSegment(NamedTuple):
    """A marker and its parameters.

    Attributes:
        marker: its second byte, such as `START_OF_SCAN`.
        start: offset of the parameters, which begin with their length in two bytes.
        end: offset of the next segment or entropy-coded data; beyond the end of the data if the segment is cut off.
    """

    marker: int
    start: int
    end: int


def jpeg_segments(data: bytes) -> Iterator[JpegSegment]:
    """The segments of a JPEG from its first byte to its end; if the last is not `END_OF_IMAGE`, the JPEG is cut off.

    Markers of a thumbnail in the header are ignored, and so are those after the end, such as in the video of a motion
    photo. Other bytes between segments are skipped, as decoders do. Takes linear time.
    """
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        marker, start = data[found.end() - 1], found.end()
        if marker == END_OF_IMAGE:
            yield JpegSegment(marker, start, start)
            return
        # The length includes its own two bytes; decoders treat a smaller one as an empty segment.
        at = start + max(2, int.from_bytes(data[start : start + 2], "big"))
        yield JpegSegment(marker, start, at)
