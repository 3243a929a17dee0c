from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire.jpeg_segments import END_OF_IMAGE, START_OF_SCAN, jpeg_segments

NOISE = np.random.default_rng(1).integers(0, 255, (48, 64, 3), dtype=np.uint8)
JPEG = cv2.imencode(".jpg", NOISE)[1].tobytes()
THUMBNAIL = cv2.imencode(".jpg", np.zeros((8, 8, 3), np.uint8))[1].tobytes()
HEADER = b"\xff\xe1" + struct.pack(">H", len(THUMBNAIL) + 2) + THUMBNAIL
TRAILER = b"such as a video \xff\xda\x00\x02 with markers \xff\xd9\xff\xda"


def markers(data: bytes) -> list[int]:
    return [segment.marker for segment in jpeg_segments(data)]


@pytest.mark.parametrize(
    ("options", "start_of_frame", "scans"),
    [
        ([], 0xC0, 1),  # baseline, with stuffed bytes in its data
        ([cv2.IMWRITE_JPEG_RST_INTERVAL, 2], 0xC0, 1),  # markers in its data
        ([cv2.IMWRITE_JPEG_PROGRESSIVE, 1], 0xC2, 10),  # data and segments in turn
    ],
)
def test_the_segments_of_a_jpeg(options: list[int], start_of_frame: int, scans: int) -> None:
    data = cv2.imencode(".jpg", NOISE, options)[1].tobytes()
    segments = list(jpeg_segments(data))
    found = [segment.marker for segment in segments]
    assert found[0] == 0xE0
    assert found.count(start_of_frame) == 1
    assert found.count(START_OF_SCAN) == scans
    assert found.index(END_OF_IMAGE) == len(found) - 1
    assert segments[-1].end == len(data)
    for marker, start, _ in segments:
        assert data[start - 2 : start] == bytes((0xFF, marker))
    assert list(jpeg_segments(data + TRAILER)) == segments


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (JPEG[:2] + HEADER + JPEG[2:], [0xE1, *markers(JPEG)]),  # the segments of a thumbnail do not count
        (JPEG[:2] + b"\xff\xff\xff" + JPEG[2:], markers(JPEG)),  # fill bytes
        (JPEG[:-2] + b"\xff\x00\xff\xff\x00\xff\xd7\xff\xff\xd9", markers(JPEG)),  # stuffed, filled up, RST7
        (JPEG[:2] + b"\xff\xfe\x00\x00" + JPEG[2:], [0xFE, *markers(JPEG)]),  # a length that is none
        (JPEG[:-2], markers(JPEG)[:-1]),  # cut off
        (JPEG[:-2] + b"\xff", markers(JPEG)[:-1]),
        (JPEG[:3], []),
        (b"", []),
    ],
)
def test_what_is_no_segment_is_passed_over(data: bytes, expected: list[int]) -> None:
    assert markers(data) == expected


@given(data=st.binary(max_size=200))
def test_any_bytes_come_to_an_end(data: bytes) -> None:
    segments = list(jpeg_segments(b"\xff\xd8" + data))
    places = [2, *(place for segment in segments for place in segment[1:])]
    assert places == sorted(places)
    assert len(segments) <= len(data) // 2
