from __future__ import annotations

import threading
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from posewire_models.nvjpeg import decode_jpegs
from posewire_server.config import LimitsConfig, ServerConfig
from posewire_server.decoding.choice import _sample_video, choose_decoding, sample_picture
from posewire_server.decoding.decoders import Codec, PictureDecoder
from posewire_server.decoding.decoding import Decoding
from posewire_server.decoding.video import VideoDecoder
from tests.server.stand_ins import jpeg

CPU = torch.device("cpu")


@pytest.mark.parametrize("setting", ["auto", "cpu"])
def test_without_a_gpu_the_cpu_decodes(setting: str) -> None:
    decoding = choose_decoding(ServerConfig(jpeg_decoder=setting, video_decoder=setting, decode_threads=3), CPU)
    assert decoding.jpegs is None
    assert decoding.video_gpu is None
    assert decoding.threads(ServerConfig(decode_threads=3)) == 3
    assert decoding.in_words() == {"jpegs_on": "cpu", "video_on": "cpu"}


@pytest.mark.parametrize("setting", ["jpeg_decoder", "video_decoder"])
def test_a_gpu_that_is_not_there_cannot_be_asked_for(setting: str) -> None:
    flag = setting.replace("_", "-")
    with pytest.raises(ValueError, match=f"not available on device cpu; use --{flag} auto or cpu"):
        choose_decoding(ServerConfig(**{setting: "gpu"}), CPU)  # type: ignore[arg-type]


def test_a_gpu_that_fails_at_decoding_is_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("nvjpegCreateEx failed: 6")

    for name in ("_choose_jpegs", "_choose_video"):
        monkeypatch.setattr(f"posewire_server.decoding.choice.{name}", fails)
    decoding = choose_decoding(ServerConfig(), torch.device("cuda", 0))
    assert decoding.in_words() == {"jpegs_on": "cpu", "video_on": "cpu"}
    assert [record.getMessage() for record in caplog.records] == [
        f"the GPU cannot decode {what}, the CPU does: nvjpegCreateEx failed: 6" for what in ("JPEGs", "video")
    ]
    with pytest.raises(ValueError, match="use --jpeg-decoder auto or cpu"):
        choose_decoding(ServerConfig(jpeg_decoder="gpu"), torch.device("cuda", 0))


@pytest.mark.parametrize(
    ("gpu_s", "setting", "on"),
    [
        (0.5, "auto", "gpu"),
        (1.0, "auto", "cpu"),  # no faster
        (2.0, "auto", "cpu"),
        (2.0, "gpu", "gpu"),  # it was asked for
        (0.5, "cpu", "cpu"),
    ],
)
def test_the_faster_one_decodes_or_the_one_that_is_asked_for(
    gpu_s: float, setting: str, on: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The GPU's decoders are played by others, and so is the clock."""

    def open_on(decoder: VideoDecoder, _: int) -> SimpleNamespace:
        return SimpleNamespace(is_hwaccel=True, has_b_frames=False, pix_fmt="cuda", decode=decoder._open().decode)

    seconds = iter([1.0, gpu_s] * 2)  # the CPU's come first
    module = "posewire_server.decoding.choice"
    monkeypatch.setattr(f"{module}.nvjpeg_is_here", lambda _: True)
    monkeypatch.setattr(f"{module}.decode_jpegs", lambda data, device: [torch.zeros(2, 2, 3)] * len(data))
    monkeypatch.setattr(f"{module}._seconds_each", lambda *_, **__: next(seconds))
    monkeypatch.setattr(VideoDecoder, "_open_on", open_on)
    threads = set(threading.enumerate())
    decoding = choose_decoding(ServerConfig(jpeg_decoder=setting, video_decoder=setting), torch.device("cuda", 1))
    assert decoding.in_words() == {"jpegs_on": on, "video_on": on}
    assert decoding.video_gpu == (1 if on == "gpu" else None)
    assert len(set(threading.enumerate()) - threads) == (on == "gpu")  # the thread of a decoder that is not used ends
    decoding.close()
    assert set(threading.enumerate()) <= threads


def test_a_frame_that_cannot_be_uploaded_is_a_frame_nevertheless(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr("posewire_models.frames.upload", fails)
    pixels = np.zeros((4, 6, 3), np.uint8)
    assert Decoding(torch.device("cuda", 0)).frame(pixels).pixels is pixels
    assert "could not be uploaded: CUDA error: out of memory" in caplog.text


def test_each_codec_has_its_decoder() -> None:
    decoding = Decoding()
    for codec, kind in ((Codec.H264, VideoDecoder), (Codec.JPEG, PictureDecoder)):
        assert isinstance(decoding.decoder(codec, None, LimitsConfig()), kind)
    pixels = np.zeros((4, 6, 3), np.uint8)
    assert decoding.frame(pixels).pixels is pixels


def test_samples_are_of_720p_and_have_detail() -> None:
    picture = sample_picture()
    assert picture.shape == (720, 1280, 3)
    assert 60_000 < len(jpeg(picture)) < 800_000
    decoder = VideoDecoder(Codec.H264, LimitsConfig())
    assert all(len(decoder.feed(key, unit)) == 1 for key, unit in enumerate(_sample_video()))


@pytest.mark.gpu
def test_a_gpu_decodes_as_the_cpu_does(real_gpu: torch.device) -> None:
    """Chroma is enlarged in another way, so single pixels at edges of colour differ."""
    data = jpeg(sample_picture())
    expected = PictureDecoder(Codec.JPEG, None, LimitsConfig()).decode(data)
    for pixels in decode_jpegs([data] * 3, real_gpu):
        assert pixels.shape == (720, 1280, 3)
        difference = np.abs(pixels.cpu().numpy().astype(int) - expected)
        assert difference.mean() < 2
        assert np.percentile(difference, 99) < 12


@pytest.mark.gpu
def test_auto_takes_one_of_them(real_gpu: torch.device) -> None:
    decoding = choose_decoding(ServerConfig(), real_gpu)
    data = jpeg(sample_picture())
    frame = decoding.frame(decoding.picture_decoder(Codec.JPEG, None, LimitsConfig()).decode(data))
    assert frame.home.type == ("cpu" if decoding.jpegs is None else "cuda")
    assert frame.pixels.shape == (720, 1280, 3)
    decoding.close()
