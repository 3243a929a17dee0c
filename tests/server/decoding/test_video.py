from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import av.error
import numpy as np
import numpy.typing as npt
import pytest
import torch

from posewire_server.config import LimitsConfig
from posewire_server.decoding import video
from posewire_server.decoding.decoders import Codec, Decoded
from posewire_server.decoding.video import VideoDecoder, holds_key_frame, holds_parameters
from posewire_server.errors import FrameError, PictureTooLarge, Undecodable
from tests.server.videos import encode

_LIMITS = LimitsConfig(max_frame_pixels=320 * 240)
_COUNT = 20
codecs = pytest.mark.parametrize("codec", [Codec.H264, Codec.H265])


def _picture(index: int, size: tuple[int, int] = (192, 256)) -> npt.NDArray[np.uint8]:
    """A bright bar whose place tells the frame, red on the left and blue on the right of it."""
    height, width = size
    pixels = np.full((height, width, 3), 40, np.uint8)
    left = 8 + 8 * index
    pixels[:, left : left + 32] = (220, 220, 220)
    pixels[:, :4] = (200, 30, 30)
    return pixels


def _index(pixels: npt.NDArray[np.uint8]) -> int:
    """Which frame it is, from where the bar begins."""
    bright = pixels[:, 4:, 1].mean(axis=0) > 130
    return round((int(np.argmax(bright)) + 4 - 8) / 8)


@functools.cache
def _units(codec: Codec, b_frames: int = 0) -> tuple[bytes, ...]:
    return tuple(encode(codec, [_picture(index) for index in range(_COUNT)], b_frames=b_frames))


def _decode(codec: Codec, units: list[bytes], limits: LimitsConfig = _LIMITS) -> list[Decoded]:
    decoder = VideoDecoder(codec, limits)
    decoded = [out for key, unit in enumerate(units) for out in decoder.feed(key, unit)]
    return decoded + decoder.flush()


def _failed(decoded: list[Decoded]) -> list[int]:
    return sorted(each.key for each in decoded if isinstance(each.outcome, FrameError))


@codecs
def test_every_unit_gives_its_picture_at_once(codec: Codec) -> None:
    decoder = VideoDecoder(codec, _LIMITS)
    for key, unit in enumerate(_units(codec)):
        (decoded,) = decoder.feed(key, unit)
        assert decoded.key == key
        assert isinstance(decoded.outcome, np.ndarray)
        assert decoded.outcome.shape == (192, 256, 3)
        assert _index(decoded.outcome) == key
        red, green, blue = decoded.outcome[96, 1].tolist()
        assert red > green + 50  # RGB, not BGR
        assert red > blue + 50
    assert decoder.flush() == []


@codecs
def test_reordered_pictures_keep_their_frame(codec: Codec) -> None:
    units = list(_units(codec, b_frames=2))
    decoded = _decode(codec, units)
    assert sorted(each.key for each in decoded) == list(range(_COUNT))
    shown = [_index(each.outcome) for each in decoded if isinstance(each.outcome, np.ndarray)]
    assert shown == list(range(_COUNT))  # they come out in the order in which they are shown
    assert [each.key for each in decoded] != list(range(_COUNT))  # and were sent in another


@codecs
def test_a_camera_may_change_its_resolution_but_not_its_codec(codec: Codec) -> None:
    other = Codec.H265 if codec is Codec.H264 else Codec.H264
    larger = encode(codec, [_picture(index, (240, 320)) for index in range(3)])
    decoded = _decode(codec, [*_units(codec)[:3], *larger, *_units(other)[:3], *_units(codec)[:3]])
    failed = f"the access units are {other} and this stream's codec is {codec}: open another, with codec {other}"
    assert [str(each.outcome) if isinstance(each.outcome, FrameError) else each.outcome.shape for each in decoded] == [
        *[(192, 256, 3)] * 3,
        *[(240, 320, 3)] * 3,
        *[failed] * 3,
        *[(192, 256, 3)] * 3,
    ]


@pytest.mark.parametrize(
    "damage",
    [
        lambda unit: bytes(len(unit)),  # zeros
        lambda unit: unit[: len(unit) // 2],  # cut off
        lambda unit: b"",  # nothing
        lambda unit: b"no video at all",
    ],
)
def test_a_damaged_h264_unit_fails_alone(damage: object) -> None:
    units = list(_units(Codec.H264))
    units[5] = damage(units[5])  # type: ignore[operator]
    decoded = _decode(Codec.H264, units)
    assert _failed(decoded) == [5]
    assert sorted(each.key for each in decoded) == list(range(_COUNT))


def test_a_unit_without_its_last_slice_fails_and_says_what_to_send() -> None:
    units = encode(Codec.H264, [_picture(index) for index in range(3)], slices=2)
    units[1] = units[1][: units[1].rindex(b"\0\0\1")]
    _, failed, _ = _decode(Codec.H264, units)
    assert isinstance(failed.outcome, Undecodable)
    assert failed.outcome.message.endswith("; send all NAL units of a picture in one frame")


def test_after_a_damaged_h265_unit_the_next_key_frame_helps() -> None:
    units = list(_units(Codec.H265))
    units[5] = bytes(len(units[5]))
    decoded = _decode(Codec.H265, units)
    assert sorted(each.key for each in decoded) == list(range(_COUNT))
    failed = _failed(decoded)
    assert failed[0] == 5
    assert set(failed) <= set(range(5, 12))  # frame 12 is a key frame


@codecs
def test_joining_in_the_middle_waits_for_a_key_frame(codec: Codec) -> None:
    decoded = _decode(codec, list(_units(codec)[3:]))
    assert _failed(decoded) == list(range(9))  # 3 + 9 = 12 is a key frame
    assert all(isinstance(each.outcome, Undecodable) for each in decoded[:9])


@codecs
@pytest.mark.parametrize("b_frames", [0, 2])
def test_a_size_beyond_the_limit_is_refused(codec: Codec, b_frames: int) -> None:
    units = encode(codec, [_picture(index, (256, 320)) for index in range(4)], b_frames=b_frames)
    decoded = _decode(codec, units)
    assert sorted(each.key for each in decoded) == list(range(4))
    assert isinstance(decoded[0].outcome, PictureTooLarge)
    assert "320x256 = 81920 pixels; this server accepts 76800" in decoded[0].outcome.message


@codecs
@pytest.mark.parametrize("size", [(480, 854), (768, 1366), (146, 66), (240, 320)])
def test_the_limit_counts_the_pixels_that_are_shown(codec: Codec, size: tuple[int, int]) -> None:
    """Decoders fill rows up; of two numbers that are close, they would refuse what is allowed."""
    height, width = size
    units = encode(codec, [_picture(0, size)])
    (decoded,) = _decode(codec, units, LimitsConfig(max_frame_pixels=width * height))
    assert isinstance(decoded.outcome, np.ndarray)
    assert decoded.outcome.shape == (height, width, 3)
    (decoded,) = _decode(codec, units, LimitsConfig(max_frame_pixels=width * height - 1))
    assert isinstance(decoded.outcome, PictureTooLarge)
    assert f"{width}x{height} = {width * height} pixels; this server accepts" in decoded.outcome.message


@codecs
def test_key_frames_are_known(codec: Codec) -> None:
    decoder = VideoDecoder(codec, _LIMITS)
    starts = [index for index, unit in enumerate(_units(codec)) if decoder.starts_here(unit)]
    assert starts == [0, 12]


def _message(codec: Codec, size: int) -> bytes:
    """A NAL unit with a message of so many bytes, of any content."""
    head = b"\0\0\1\x06" if codec is Codec.H264 else b"\0\0\1\x4e\x01"
    return head + b"\x05" + b"\xff" * (size // 255) + bytes([size % 255]) + b"\x11" * size + b"\x80"


_DELIMITERS = {Codec.H264: b"\0\0\1\x09\xf0", Codec.H265: b"\0\0\1\x46\x01\x50"}


@codecs
@pytest.mark.parametrize(
    ("before", "fault"),
    [
        (lambda codec: b"\0\0\1\x01" * 5_001, "more than 5000 NAL units"),  # a hundred times their size in memory
        (lambda codec: _DELIMITERS[codec] * 5_000, "more than 5000 NAL units"),
        (lambda codec: bytes(2**20 - 1) + b"\0\0\1\x01" * 5_001, "more than 5000 NAL units"),
        (lambda codec: _message(codec, 2**20), "more than 1048576 bytes beside"),
        (lambda codec: bytes(2**20 - 1) + _message(codec, 2**20), "more than 1048576 bytes beside"),
    ],
)
def test_a_unit_with_more_than_encoders_write_is_not_decoded(
    codec: Codec, before: Callable[[Codec], bytes], fault: str
) -> None:
    units = list(_units(codec))
    units.insert(5, before(codec) + units[5])
    decoded = _decode(codec, units)
    (failed,) = (each.outcome for each in decoded if isinstance(each.outcome, FrameError))
    assert isinstance(failed, Undecodable)
    assert fault in failed.message
    assert [each.key for each in decoded] == list(range(_COUNT + 1))


@codecs
def test_a_unit_may_have_many_parts_and_long_messages(codec: Codec) -> None:
    units = list(_units(codec))
    units[0] = _DELIMITERS[codec] * 4_000 + _message(codec, 1_000_000) + units[0]
    assert _failed(_decode(codec, units)) == []
    assert VideoDecoder(codec, _LIMITS).starts_here(units[0])


@codecs
def test_only_the_first_slice_of_a_unit_is_searched_for(codec: Codec) -> None:
    """The event loop waits for that."""
    key_frame, other = _units(codec)[0], _units(codec)[1]
    for beginning in (other, _DELIMITERS[codec] * 5_000, bytes(2**20)):
        assert not holds_key_frame(codec, beginning + key_frame)
        assert not holds_parameters(codec, beginning + key_frame)
    assert holds_key_frame(codec, key_frame + other)
    assert holds_parameters(codec, key_frame + other)


@codecs
def test_units_without_a_picture_do_not_displace_those_that_wait_for_reordering(codec: Codec) -> None:
    units = list(_units(codec, b_frames=2))
    between = [_DELIMITERS[codec]] * 10
    decoded = _decode(codec, units[:5] + between + units[5:])
    assert set(_failed(decoded)) == set(range(5, 15))
    assert sorted(each.key for each in decoded) == list(range(_COUNT + 10))


@codecs
def test_every_key_comes_out_once_whatever_is_fed(codec: Codec) -> None:
    rng = np.random.default_rng(1)
    units = []
    for unit in _units(codec, b_frames=2):
        noisy = bytearray(unit)
        for place in rng.integers(0, len(noisy), 3):
            noisy[place] ^= int(rng.integers(1, 256))
        units.append(bytes(noisy))
    assert sorted(each.key for each in _decode(codec, units)) == list(range(_COUNT))


class _Hardware:
    """The decoder of a GPU, played by the CPU's until it fails."""

    is_hwaccel = True
    has_b_frames = False
    pix_fmt = "cuda"

    def __init__(self, fails_from: int) -> None:
        self._decoder = VideoDecoder(Codec.H264, _LIMITS)._context
        self._fails_from = fails_from
        self.width, self.height = 256, 192

    def decode(self, packet: object) -> list[object]:
        self._fails_from -= 1
        if self._fails_from < 0:
            raise av.error.ExternalError(542398533, "no decoder surface")
        return list(self._decoder.decode(packet))  # type: ignore[arg-type]


def _with_hardware(monkeypatch: pytest.MonkeyPatch, fails_from: int) -> VideoDecoder:
    monkeypatch.setattr(VideoDecoder, "_open_on", lambda *_: _Hardware(fails_from))
    return VideoDecoder(Codec.H264, _LIMITS, gpu=0)


@pytest.mark.parametrize("joins_at", [0, 3])  # at a key frame, in the middle
def test_hardware_that_never_gives_a_picture_is_replaced(joins_at: int, monkeypatch: pytest.MonkeyPatch) -> None:
    units = list(_units(Codec.H264)[joins_at:])
    expected = _decode(Codec.H264, units)
    decoder = _with_hardware(monkeypatch, fails_from=0)
    first = decoder.feed(0, units[0])
    assert decoder.on_gpu == (joins_at == 3)  # a key frame is all that it is waited for
    decoded = [out for key, unit in enumerate(units[1:], 1) for out in decoder.feed(key, unit)] + decoder.flush()
    decoded = first + decoded
    assert not decoder.on_gpu
    assert [each.key for each in decoded] == [each.key for each in expected]
    assert _failed(decoded) == _failed(expected)


@pytest.mark.parametrize("patience", [8, 64])  # which ends while units come, or only with the stream
def test_hardware_that_takes_units_and_gives_nothing_is_replaced(
    patience: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_TRIAL_UNITS", patience)
    monkeypatch.setattr(_Hardware, "decode", lambda *_: [])
    units = list(_units(Codec.H264))
    decoder = _with_hardware(monkeypatch, fails_from=0)
    decoded = [decoder.feed(key, unit) for key, unit in enumerate(units)]
    assert [len(each) for each in decoded[:8]] == [0] * 7 + [8 * (patience == 8)]
    assert decoder.on_gpu == (patience == 64)
    decoded.append(decoder.flush())
    assert not decoder.on_gpu
    pictures = [each for some in decoded for each in some]
    assert [each.key for each in pictures] == list(range(_COUNT))
    assert _failed(pictures) == []


def test_hardware_is_judged_by_what_comes_after_a_key_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video, "_TRIAL_UNITS", 8)
    units = _units(Codec.H264, b_frames=2)[1:]  # joins a camera 11 units before a key frame, which is not shown at once
    decoder = _with_hardware(monkeypatch, fails_from=1000)
    decoded = [out for key, unit in enumerate(units) for out in decoder.feed(key, unit)] + decoder.flush()
    assert decoder.on_gpu
    assert sorted(each.key for each in decoded) == list(range(len(units)))


@pytest.mark.parametrize("pix_fmt", ["cuda", "yuv420p"])  # the latter if FFmpeg has turned to the CPU
def test_hardware_that_gives_pictures_stays(pix_fmt: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Hardware, "pix_fmt", pix_fmt)
    decoder = _with_hardware(monkeypatch, fails_from=5)
    decoded = [out for key, unit in enumerate(_units(Codec.H264)) for out in decoder.feed(key, unit)]
    assert decoder.on_gpu == (pix_fmt == "cuda")
    assert _failed(decoded) == list(range(5, _COUNT))  # it fails units as any decoder does
    assert [each.key for each in decoded] == list(range(_COUNT))


def test_hardware_is_opened_in_the_context_of_its_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg takes whichever is current; torch, done with another GPU, makes the one before current again."""
    current, opened = [0], []

    @contextmanager
    def device(number: int) -> Iterator[None]:
        current.append(number)
        yield
        current.pop()

    def open_here(_: VideoDecoder, on: str) -> _Hardware:
        opened.append((on, current[-1]))
        return hardware

    hardware = _Hardware(fails_from=_COUNT)
    decoder = VideoDecoder(Codec.H264, _LIMITS, gpu=1)
    monkeypatch.setattr("torch.cuda.device", device)
    monkeypatch.setattr("torch.zeros", lambda *_, **__: None)
    monkeypatch.setattr(video, "HWAccel", lambda _, device, **__: device)
    monkeypatch.setattr(VideoDecoder, "_open", open_here)
    decoder.feed(0, _units(Codec.H264)[0])
    assert opened == [("1", 1)]
    assert decoder.on_gpu


@pytest.mark.gpu
@codecs
def test_a_gpu_decodes_as_the_cpu_does(codec: Codec, real_gpu: torch.device) -> None:
    units = _units(codec, b_frames=2)
    decoder = VideoDecoder(codec, _LIMITS, real_gpu.index)
    decoded = [out for key, unit in enumerate(units) for out in decoder.feed(key, unit)] + decoder.flush()
    if not decoder.on_gpu:
        pytest.skip("FFmpeg has no decoder on this GPU; its driver's video libraries may be missing")
    found, expected = (sorted(each, key=lambda out: out.key) for each in (decoded, _decode(codec, list(units))))
    assert [each.key for each in found] == [each.key for each in expected] == list(range(_COUNT))
    for one, other in zip(expected, found, strict=True):
        assert isinstance(one.outcome, np.ndarray)
        assert isinstance(other.outcome, np.ndarray)
        assert np.abs(one.outcome.astype(int) - other.outcome).mean() < 2


def test_without_a_gpu_the_cpu_decodes() -> None:
    """Where there is none, that is what happens; where there is one, this is its test."""
    decoder = VideoDecoder(Codec.H264, _LIMITS, gpu=0)
    for key, unit in enumerate(_units(Codec.H264)):
        (decoded,) = decoder.feed(key, unit)
        assert isinstance(decoded.outcome, np.ndarray)
        assert _index(decoded.outcome) == key
