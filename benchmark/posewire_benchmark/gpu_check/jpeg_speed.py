"""Decoding of 720p JPEGs: by the CPU, including upload, and by the GPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import torch

from posewire._encoding import encode
from posewire.synth import Scene, SceneConfig
from posewire.usable_cores import usable_cores
from posewire_models.frames import Frame
from posewire_models.nvjpeg import decode_jpegs, nvjpeg_is_here
from posewire_server.config import LimitsConfig
from posewire_server.decoding.decoders import Codec, PictureDecoder
from posewire_server.decoding.jpeg_batches import JpegBatches

__all__ = ["encoded_scene", "measure_jpegs"]

_QUALITY = 90


def encoded_scene(frames: int, people: int = 4) -> list[bytes]:
    """Frames of a synthetic scene as 720p JPEGs."""
    scene = Scene(SceneConfig(width=1280, height=720, people=people, frames=frames, seed=1))
    return [encode(frame.image, "jpeg", _QUALITY) for frame in scene]


def measure_jpegs(device: torch.device, budget_s: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Frames per second of each way."""
    pictures = encoded_scene(4)
    figures: dict[str, Any] = {"bytes": sum(map(len, pictures)) // len(pictures)}
    cores = usable_cores()
    for threads in dict.fromkeys((1, max(1, cores // 2), cores)):
        figures[f"cpu_{threads}_threads_fps"] = _fps(partial(_by_cpu, device, pictures), threads, device, budget_s)
    if nvjpeg_is_here(device):
        for batch in (1, 2, 4, 8, 16, 32):
            figures[f"gpu_batch_{batch}_fps"] = _direct_fps(pictures, batch, device, budget_s)
        batches = JpegBatches(partial(decode_jpegs, device=device))
        figures["gpu_32_threads_fps"] = _fps(partial(_by_gpu, batches, pictures), 32, device, budget_s)
        batches.close()
    for name, value in figures.items():
        say(f"{name}: {value:.0f}")
    return figures


def _by_cpu(device: torch.device, pictures: list[bytes], number: int) -> None:
    pixels = PictureDecoder(Codec.JPEG, None, LimitsConfig()).decode(pictures[number % len(pictures)])
    Frame(pixels).send_to(device)


def _by_gpu(batches: JpegBatches, pictures: list[bytes], number: int) -> None:
    if batches.decode(pictures[number % len(pictures)]) is None:
        raise RuntimeError("the GPU refuses a JPEG")


def _fps(work: Callable[[int], None], threads: int, device: torch.device, budget_s: float) -> float:
    with ThreadPoolExecutor(threads) as pool:
        count = 2 * threads
        while True:
            start = time.perf_counter()
            list(pool.map(work, range(count)))
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds = time.perf_counter() - start
            if seconds > budget_s:
                return count / seconds
            count *= 2


def _direct_fps(pictures: list[bytes], batch: int, device: torch.device, budget_s: float) -> float:
    chosen = [pictures[number % len(pictures)] for number in range(batch)]
    decode_jpegs(chosen, device)
    calls, start = 0, time.perf_counter()
    while (seconds := time.perf_counter() - start) < budget_s:
        decode_jpegs(chosen, device)
        calls += 1
    return calls * batch / seconds
