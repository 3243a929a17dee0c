from __future__ import annotations

import struct
import tracemalloc

import cv2
import numpy as np
import pytest
import torch

from posewire_server.config import LimitsConfig
from posewire_server.decoding import decoders
from posewire_server.decoding.decoders import Codec, PictureDecoder
from posewire_server.errors import FrameError, PictureTooLarge, Undecodable, WrongSize
from tests.server.stand_ins import jpeg, picture, png

_LIMITS = LimitsConfig(max_frame_pixels=320 * 240)
_SIZE = (320, 240)


def _colours() -> np.ndarray:
    pixels = np.zeros((240, 320, 3), np.uint8)
    pixels[:, :160] = (250, 20, 10)  # red on the left
    pixels[:, 160:] = (10, 20, 250)  # blue on the right
    return pixels


def _noise() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (240, 320, 3), np.uint8)


def _encoded(codec: Codec, pixels: np.ndarray) -> bytes:
    match codec:
        case Codec.JPEG:
            return jpeg(pixels)
        case Codec.PNG:
            return png(pixels)
        case Codec.RAW_RGB24:
            return pixels.tobytes()
        case _:
            return np.ascontiguousarray(pixels[..., ::-1]).tobytes()


def _decoder(codec: Codec) -> PictureDecoder:
    return PictureDecoder(codec, _SIZE, _LIMITS)


@pytest.mark.parametrize("codec", [Codec.JPEG, Codec.PNG, Codec.RAW_RGB24, Codec.RAW_BGR24])
def test_frames_come_out_as_rgb_that_can_be_written_to(codec: Codec) -> None:
    decoded = _decoder(codec).decode(_encoded(codec, _colours()))
    away_from_the_edge = np.r_[0:144, 176:320]
    difference = np.abs(decoded.astype(int) - _colours())[:, away_from_the_edge]
    assert difference.max() <= (3 if codec is Codec.JPEG else 0)
    assert decoded.flags.writeable
    assert decoded.flags.c_contiguous


def test_grey_alpha_and_deep_pictures_become_rgb8() -> None:
    grey = _colours()[..., 0]
    for pixels in (grey, np.dstack([_colours(), grey]), _colours().astype(np.uint16) * 257):
        data = cv2.imencode(".png", pixels)[1].tobytes()
        assert _decoder(Codec.PNG).decode(data).shape == (240, 320, 3)
    assert _decoder(Codec.JPEG).decode(cv2.imencode(".jpg", grey)[1].tobytes()).shape == (240, 320, 3)


def test_an_exif_orientation_does_not_turn_the_frame() -> None:
    # TIFF header, one entry: Orientation = 6 (turn by 90 degrees).
    exif = b"Exif\0\0MM\0\x2a\0\0\0\x08\0\x01" + struct.pack(">HHIHHI", 0x0112, 3, 1, 6, 0, 0)
    data = jpeg(_colours())
    data = data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]
    assert _decoder(Codec.JPEG).decode(data).shape == (240, 320, 3)


@pytest.mark.parametrize(
    ("codec", "data", "error", "says"),
    [
        (Codec.JPEG, b"", Undecodable, "empty"),
        (Codec.JPEG, b"hello", Undecodable, "not a JPEG"),
        (Codec.JPEG, jpeg(picture())[:-200], Undecodable, "cut off"),  # OpenCV 4 would fill it up with grey
        (Codec.JPEG, jpeg(_noise())[:-9000] + b"\xff\xd9", Undecodable, "damaged: premature end of data segment"),
        (Codec.JPEG, jpeg(_noise())[:700] + b"\xff\xd9", Undecodable, "damaged: premature end of data segment"),
        (Codec.JPEG, jpeg(_noise())[:-2] + jpeg(_noise())[-1400:], Undecodable, "damaged: 1.* extraneous bytes"),
        (Codec.JPEG, png(picture()), Undecodable, "not a JPEG"),  # another codec than announced
        (Codec.PNG, png(picture())[:-20], Undecodable, "cut off"),
        (Codec.JPEG, jpeg(picture(size=(241, 320))), PictureTooLarge, "320x241 = 77120 pixels"),  # one row too many
        (Codec.PNG, png(picture(size=(241, 320))), PictureTooLarge, "accepts 76800"),
        (Codec.RAW_RGB24, bytes(320 * 240 * 3 - 1), WrongSize, "230399 bytes; 320x240 pixels of 3 bytes are 230400"),
        (Codec.RAW_BGR24, bytes(320 * 240 * 4), WrongSize, "307200 bytes"),  # BGRA by mistake
    ],
)
def test_bad_frames(codec: Codec, data: bytes, error: type[FrameError], says: str) -> None:
    with pytest.raises(error, match=says):
        _decoder(codec).decode(data)
    (decoded,) = _decoder(codec).feed(7, data)
    assert decoded.key == 7
    assert isinstance(decoded.outcome, error)


def test_damaged_jpegs_write_nothing_to_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    for kept in (0.1, 0.5, 0.9):
        data = jpeg(_noise())
        with pytest.raises(Undecodable):
            _decoder(Codec.JPEG).decode(data[: int(kept * len(data))] + b"\xff\xd9")
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("padding", [bytes(16), b"\xff" * 512, bytes(4000), bytes([1, 2, 3] * 5)])
def test_a_jpeg_with_bytes_too_many_is_decoded_as_cameras_send_it(padding: bytes) -> None:
    data = jpeg(_colours())
    np.testing.assert_array_equal(
        _decoder(Codec.JPEG).decode(data[:-2] + padding + data[-2:]), _decoder(Codec.JPEG).decode(data)
    )


@pytest.mark.parametrize(
    "flags",
    [
        *([cv2.IMWRITE_JPEG_SAMPLING_FACTOR, factor] for factor in (0x411111, 0x221111, 0x211111, 0x121111, 0x111111)),
        [cv2.IMWRITE_JPEG_PROGRESSIVE, 1],
        [cv2.IMWRITE_JPEG_RST_INTERVAL, 4],
    ],
)
def test_jpegs_of_all_kinds_are_decoded_to_the_pixels_that_opencv_gives(flags: list[int]) -> None:
    data = cv2.imencode(".jpg", _noise()[:-3, :-5], flags)[1].tobytes()
    expected = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    np.testing.assert_array_equal(_decoder(Codec.JPEG).decode(data), expected)


def test_jpegs_that_are_not_for_the_fast_decoder_are_decoded_by_opencv(monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _decoder(Codec.JPEG).decode(jpeg(_colours()))
    monkeypatch.setattr(decoders, "decode_jpeg", lambda data: None)
    np.testing.assert_array_equal(_decoder(Codec.JPEG).decode(jpeg(_colours())), expected)


def test_misuse() -> None:
    with pytest.raises(ValueError, match="width and height"):
        PictureDecoder(Codec.RAW_RGB24, None, _LIMITS)
    with pytest.raises(ValueError, match="video codec"):
        PictureDecoder(Codec.H264, None, _LIMITS)


def test_an_absurd_size_is_refused_before_anything_is_allocated() -> None:
    data = jpeg(picture())
    at = data.index(b"\xff\xc0")
    bomb = data[: at + 5] + struct.pack(">HH", 65000, 65000) + data[at + 9 :]  # 12 GB of pixels
    tracemalloc.start()
    with pytest.raises(PictureTooLarge, match="65000x65000"):
        _decoder(Codec.JPEG).decode(bomb)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1_000_000


def test_pictures_stand_alone() -> None:
    decoder = _decoder(Codec.JPEG)
    assert decoder.starts_here(b"anything")
    assert decoder.flush() == []


class _OnDevice:
    """Decodes as a GPU would, or refuses."""

    def __init__(self, refuses: bool = False) -> None:
        self.asked = 0
        self._refuses = refuses

    def decode(self, data: bytes) -> torch.Tensor | None:
        self.asked += 1
        if self._refuses:
            return None
        bgr = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        return torch.from_numpy(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB))


def test_common_jpegs_are_decoded_on_the_device() -> None:
    device = _OnDevice()
    decoder = PictureDecoder(Codec.JPEG, None, _LIMITS, device)
    data = jpeg(_colours())
    pixels = decoder.decode(data)
    assert isinstance(pixels, torch.Tensor)
    assert np.array_equal(pixels.numpy(), PictureDecoder(Codec.JPEG, None, _LIMITS).decode(data))
    assert device.asked == 1


@pytest.mark.parametrize(
    ("flags", "pixels"),
    [
        ([cv2.IMWRITE_JPEG_PROGRESSIVE, 1], _colours()),
        ([], _colours()[..., 0]),  # grey
        ([cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411], _colours()),
    ],
)
def test_uncommon_jpegs_never_get_there(flags: list[int], pixels: np.ndarray) -> None:
    device = _OnDevice()
    data = cv2.imencode(".jpg", pixels, flags)[1].tobytes()
    assert isinstance(PictureDecoder(Codec.JPEG, None, _LIMITS, device).decode(data), np.ndarray)
    assert device.asked == 0


def test_a_stream_whose_pictures_are_refused_there_is_decoded_here() -> None:
    device = _OnDevice(refuses=True)
    decoder = PictureDecoder(Codec.JPEG, None, _LIMITS, device)
    for _ in range(3):
        assert isinstance(decoder.decode(jpeg(_colours())), np.ndarray)
    assert device.asked == 1


def test_what_is_too_large_or_broken_never_gets_there() -> None:
    device = _OnDevice()
    decoder = PictureDecoder(Codec.JPEG, None, _LIMITS, device)
    for data, error in ((jpeg(picture(size=(241, 320))), PictureTooLarge), (jpeg(picture())[:-200], Undecodable)):
        with pytest.raises(error):
            decoder.decode(data)
    assert device.asked == 0
