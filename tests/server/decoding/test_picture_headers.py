from __future__ import annotations

import struct
import zlib

import cv2
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire_server.decoding.picture_headers import jpeg_header, png_size
from posewire_server.errors import Undecodable
from tests.server.stand_ins import jpeg, picture, png

_JPEG = jpeg(picture(size=(48, 64)))
_PNG = png(picture(size=(48, 64)))


def _with_thumbnail(data: bytes) -> bytes:
    """A camera's JPEG: its header holds a smaller JPEG, with markers of its own."""
    thumbnail = jpeg(picture(size=(16, 24)))
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail + data[2:]


def _chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


@pytest.mark.parametrize(
    "options",
    [
        [],  # baseline
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],  # another start-of-frame marker, several scans
        [cv2.IMWRITE_JPEG_RST_INTERVAL, 2],  # markers between the entropy-coded data
        [cv2.IMWRITE_JPEG_OPTIMIZE, 1],
    ],
)
def test_size_of_a_jpeg(options: list[int]) -> None:
    data = cv2.imencode(".jpg", picture(size=(48, 64)), options)[1].tobytes()
    assert jpeg_header(data)[:2] == (64, 48)
    assert jpeg_header(_with_thumbnail(data))[:2] == (64, 48)
    assert jpeg_header(data + b"trailing bytes of a camera")[:2] == (64, 48)


@pytest.mark.parametrize(
    ("options", "is_common"),
    [
        ([], True),
        ([cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444], True),
        ([cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422], True),
        ([cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411], False),
        ([cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440], False),
        ([cv2.IMWRITE_JPEG_PROGRESSIVE, 1], False),
    ],
)
def test_what_a_camera_sends_is_common(options: list[int], is_common: bool) -> None:
    data = cv2.imencode(".jpg", picture(size=(48, 64)), options)[1].tobytes()
    assert jpeg_header(data).is_common == is_common
    assert jpeg_header(_with_thumbnail(data)).is_common == is_common


def test_other_colours_are_not_common() -> None:
    grey = cv2.imencode(".jpg", picture(size=(48, 64))[..., 0])[1].tobytes()
    assert not jpeg_header(grey).is_common
    rgb = b"\xff\xee\x00\x0eAdobe" + struct.pack(">HHHB", 100, 0, 0, 0)  # what Photoshop calls untransformed
    assert not jpeg_header(_JPEG[:2] + rgb + _JPEG[2:]).is_common
    assert jpeg_header(_JPEG + rgb).is_common  # which is none of it
    at = _JPEG.index(b"\xff\xc0") + 4
    assert not jpeg_header(_JPEG[:at] + b"\x0c" + _JPEG[at + 1 :]).is_common  # 12 bits
    assert not jpeg_header(_JPEG.replace(b"\xff\xc0", b"\xff\xc1")).is_common  # extended


def test_size_of_a_png() -> None:
    assert png_size(_PNG) == (64, 48)


@pytest.mark.parametrize("data", [_JPEG, _with_thumbnail(_JPEG)])
def test_a_jpeg_cut_off_anywhere_is_refused(data: bytes) -> None:
    for end in range(len(data)):
        with pytest.raises(Undecodable):
            jpeg_header(data[:end])


def test_a_png_cut_off_anywhere_is_refused() -> None:
    for end in range(len(_PNG)):
        with pytest.raises(Undecodable):
            png_size(_PNG[:end])


@given(place=st.integers(8, len(_PNG) - 1), flip=st.integers(1, 255))
def test_a_png_with_a_changed_byte_is_refused(place: int, flip: int) -> None:
    damaged = bytearray(_PNG)
    damaged[place] ^= flip
    with pytest.raises(Undecodable):
        png_size(bytes(damaged))


@given(data=st.binary(max_size=200))
def test_any_bytes_give_an_answer(data: bytes) -> None:
    size_at = _JPEG.index(b"\xff\xc0") + 5
    for size_of, content in (
        (jpeg_header, data),
        (jpeg_header, b"\xff\xd8\xff" + data),
        (jpeg_header, _JPEG[:size_at] + data[:4].ljust(4, b"\0") + _JPEG[size_at + 4 :]),
        (png_size, _PNG[:8] + data),
        (png_size, _PNG[:40] + data),
        (png_size, _PNG[:8] + _chunk(b"IHDR", data[:13].ljust(13, b"\0")) + _chunk(b"IEND", b"")),
    ):
        try:
            width, height = size_of(content)[:2]
        except Undecodable:
            continue
        assert width > 0
        assert height > 0


def test_a_jpeg_with_absurdly_many_scans_is_refused() -> None:
    scan = b"\xff\xda\x00\x02"
    with pytest.raises(Undecodable, match="more than 20 scans"):
        jpeg_header(_JPEG[:-2] + 20 * scan + _JPEG[-2:])
    assert jpeg_header(_JPEG[:-2] + 19 * scan + _JPEG[-2:])[:2] == (64, 48)


def test_what_follows_the_end_of_a_jpeg_is_none_of_it() -> None:
    """Such as the video of a motion photo, which holds any bytes."""
    scan = b"\xff\xda\x00\x02"
    assert jpeg_header(_JPEG + 200 * scan) == jpeg_header(_JPEG)
    with pytest.raises(Undecodable, match="cut off or damaged: its end marker is missing"):
        jpeg_header(_with_thumbnail(_JPEG[:-2]))


def test_a_jpeg_with_absurdly_many_segments_is_refused() -> None:
    comment = b"\xff\xfe\x00\x02"
    assert jpeg_header(_JPEG[:2] + 4000 * comment + _JPEG[2:])[:2] == (64, 48)
    for data in (_JPEG[:2] + 5000 * comment + _JPEG[2:], _JPEG[:-2] + 5000 * comment + _JPEG[-2:]):
        with pytest.raises(Undecodable, match="more than 5000 segments"):
            jpeg_header(data)


@pytest.mark.parametrize("stray", [b"x", b"\xff\xd8", b"\xff\x00"])
def test_a_header_holds_nothing_between_its_segments(stray: bytes) -> None:
    at = _JPEG.index(b"\xff\xdb")
    assert jpeg_header(_JPEG[:at] + b"\xff\xff" + _JPEG[at:])[:2] == (64, 48)  # may fill up
    with pytest.raises(Undecodable, match="should start a marker"):
        jpeg_header(_JPEG[:at] + stray + _JPEG[at:])


def _png_with(count: int, name: bytes) -> bytes:
    """A PNG with so many chunks of text after its header chunk."""
    return _PNG[:33] + count * _chunk(name, b"k\0\0" + zlib.compress(bytes(100))) + _PNG[33:]


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_png_with_absurdly_many_packed_texts_is_refused(kind: bytes) -> None:
    assert png_size(_png_with(16, kind)) == png_size(_png_with(100, b"tEXt")) == (64, 48)
    with pytest.raises(Undecodable, match="more than 16 packed texts"):
        png_size(_png_with(17, kind))


def test_a_png_with_absurdly_many_chunks_is_refused() -> None:
    own = _PNG.count(b"IDAT") + 2
    filled = _PNG[:33] + (20_000 - own) * _chunk(b"prVt", b"") + _PNG[33:]
    assert png_size(filled) == (64, 48)
    with pytest.raises(Undecodable, match="more than 20000 chunks"):
        png_size(filled[:33] + _chunk(b"prVt", b"") + filled[33:])


@pytest.mark.parametrize("size", [(0, 10), (10, 0)])
def test_a_png_without_area_is_refused(size: tuple[int, int]) -> None:
    header = struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0)
    with pytest.raises(Undecodable, match="no size"):
        png_size(_PNG[:8] + _chunk(b"IHDR", header) + _chunk(b"IEND", b""))


def test_huge_sizes_are_reported_not_believed() -> None:
    header = struct.pack(">IIBBBBB", 2**31 - 1, 2**31 - 1, 8, 2, 0, 0, 0)
    assert png_size(_PNG[:8] + _chunk(b"IHDR", header) + _chunk(b"IEND", b"")) == (2**31 - 1, 2**31 - 1)
    at = _JPEG.index(b"\xff\xc0")
    assert jpeg_header(_JPEG[: at + 5] + b"\xff\xff\xff\xff" + _JPEG[at + 9 :])[:2] == (65535, 65535)


def test_neither_takes_the_other() -> None:
    with pytest.raises(Undecodable, match="not a JPEG"):
        jpeg_header(_PNG)
    with pytest.raises(Undecodable, match="not a PNG"):
        png_size(_JPEG)
