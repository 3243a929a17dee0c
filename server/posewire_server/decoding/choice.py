"""Choosing the decoders when the server starts: the CPU's, or the GPU's if they are measured to be faster."""

from __future__ import annotations

import itertools
import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from functools import partial
from typing import TypeVar

import av
import cv2
import numpy as np
import numpy.typing as npt
import torch

from posewire_models.nvjpeg import decode_jpegs, nvjpeg_is_here
from posewire_server.config import LimitsConfig, ServerConfig
from posewire_server.decoding.decoders import Codec, Pixels
from posewire_server.decoding.decoding import Decoding
from posewire_server.decoding.jpeg_batches import JpegBatches
from posewire_server.decoding.video import VideoDecoder
from posewire_server.observability.logs import facts

__all__ = ["choose_decoding", "sample_picture"]

log = logging.getLogger(__name__)

Choice = TypeVar("Choice")

_SAMPLE_SIZE = (720, 1280)
_JPEG_QUALITY = 90
# Number of pictures for comparing decoders, and of pictures before them for warm-up.
_COMPARED = 96
_WARM_UP = 32
_VIDEO_FRAMES = 16


def choose_decoding(config: ServerConfig, device: torch.device) -> Decoding:
    """The configured decoders; for `auto`, the faster ones: both are measured on the same pictures.

    Raises:
        ValueError: `gpu` is configured, but the networks do not run on a GPU, or it cannot decode.
    """
    jpegs, video_gpu = None, None
    if device.type == "cuda":
        jpegs = _or_none("JPEGs", partial(_choose_jpegs, config, device))
        video_gpu = _or_none("video", partial(_choose_video, config, device.index or 0))
    for name, chosen in (("jpeg_decoder", jpegs), ("video_decoder", video_gpu)):
        if getattr(config, name) == "gpu" and chosen is None:
            flag = name.replace("_", "-")
            raise ValueError(f"{name} is 'gpu', which is not available on device {device}; use --{flag} auto or cpu")
    return Decoding(device, jpegs, video_gpu)


def _or_none(what: str, choose: Callable[[], Choice | None]) -> Choice | None:
    """The result of `choose`; None, that is the CPU, after any failure: the server can start without the GPU's."""
    try:
        return choose()
    except Exception as error:  # noqa: BLE001  drivers and their libraries fail in many ways
        log.warning("the GPU cannot decode %s, the CPU does: %s", what, error)
        return None


def sample_picture() -> Pixels:
    """A 720p picture with about as much detail as a camera's."""
    rng = np.random.default_rng(0)
    height, width = _SAMPLE_SIZE
    picture = np.zeros((height, width, 3), np.float32)
    for coarseness, strength in ((8, 60.0), (64, 120.0), (2, 12.0)):
        noise = rng.normal(0.5, 0.2, (height // coarseness, width // coarseness, 3)).astype(np.float32)
        picture += strength * cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC)
    return picture.clip(0, 255).astype(np.uint8)


def _choose_jpegs(config: ServerConfig, device: torch.device) -> JpegBatches | None:
    if config.jpeg_decoder == "cpu" or not nvjpeg_is_here(device):
        return None
    batches = JpegBatches(partial(decode_jpegs, device=device))
    _, encoded = cv2.imencode(".jpg", sample_picture(), [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])
    data = encoded.tobytes()
    if batches.decode(data) is None:
        log.warning("the GPU does not decode JPEGs here; the CPU does")
        batches.close()
        return None
    if config.jpeg_decoder == "gpu":
        return batches

    def decode(decoding: Decoding, _: object) -> None:
        decoding.frame(decoding.picture_decoder(Codec.JPEG, None, LimitsConfig()).decode(data))

    times = {}
    for name, own in (("cpu", Decoding(device)), ("gpu", Decoding(device, batches))):
        times[name] = _seconds_each(partial(decode, own), own.threads(config), device)
    log.info("compared JPEG decoders", extra=facts(**{f"{name}_ms": round(s * 1e3, 3) for name, s in times.items()}))
    if times["gpu"] < times["cpu"]:
        return batches
    batches.close()
    return None


def _choose_video(config: ServerConfig, gpu: int) -> int | None:
    if config.video_decoder == "cpu":
        return None
    try:
        units = _sample_video()
    except (av.error.FFmpegError, ValueError) as error:
        log.info("video is decoded on the CPU: nothing to try the GPU's decoder with (%s)", error)
        return gpu if config.video_decoder == "gpu" else None
    decoder = VideoDecoder(Codec.H264, LimitsConfig(), gpu)
    decoded = [out for key, unit in enumerate(units) for out in decoder.feed(key, unit)]
    if not decoder.on_gpu or not any(isinstance(each.outcome, np.ndarray) for each in decoded):
        return None
    if config.video_decoder == "gpu":
        return gpu

    times, threads = {}, config.decoding_thread_count
    for name, on in (("cpu", None), ("gpu", gpu)):
        clip_s = _seconds_each(_DecodingThreads(units, on), threads, torch.device("cpu"), warm_up=2 * threads, rounds=2)
        times[name] = clip_s / len(units)
    log.info("compared video decoders", extra=facts(**{f"{name}_ms": round(s * 1e3, 3) for name, s in times.items()}))
    return gpu if times["gpu"] < times["cpu"] else None


class _DecodingThreads(threading.local):
    """Decodes a clip repeatedly. Each thread keeps a decoder of its own, as a stream does."""

    def __init__(self, units: Sequence[bytes], gpu: int | None) -> None:
        self._units = units
        self._decoder = VideoDecoder(Codec.H264, LimitsConfig(), gpu)
        self._keys = itertools.count()

    def __call__(self, _: object) -> None:
        for unit in self._units:
            self._decoder.feed(next(self._keys), unit)


def _seconds_each(
    work: Callable[[object], None],
    threads: int,
    device: torch.device,
    warm_up: int = _WARM_UP,
    rounds: int = _COMPARED // _WARM_UP,
) -> float:
    """Seconds per call of `work`, with `threads` threads running it concurrently."""
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(warm_up)))
        _wait_for(device)
        start = time.perf_counter()
        list(pool.map(work, range(rounds * warm_up)))
        _wait_for(device)
        return (time.perf_counter() - start) / (rounds * warm_up)


def _wait_for(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def _sample_video() -> list[bytes]:
    """H.264 access units in which the sample picture moves."""
    picture = sample_picture()
    encoder = av.CodecContext.create("libx264", "w")
    assert isinstance(encoder, av.VideoCodecContext)
    encoder.height, encoder.width = _SAMPLE_SIZE
    encoder.pix_fmt, encoder.time_base, encoder.framerate = "yuv420p", Fraction(1, 25), Fraction(25)
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency"}
    units = []
    for number in range(_VIDEO_FRAMES):
        moved: npt.NDArray[np.uint8] = np.roll(picture, 4 * number, axis=1)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(moved), format="rgb24")
        frame.pts = number
        units += [bytes(packet) for packet in encoder.encode(frame)]
    return units
