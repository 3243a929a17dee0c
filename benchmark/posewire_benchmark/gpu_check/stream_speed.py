"""Frames per second of the whole pipeline in this process, from JPEGs to tracked people, with few and many streams."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch

from posewire_benchmark.gpu_check.jpeg_speed import encoded_scene
from posewire_models.frames import Frame
from posewire_models.nvjpeg import decode_jpegs, nvjpeg_is_here
from posewire_server.config import LimitsConfig, ServerConfig
from posewire_server.decoding.decoders import Codec, PictureDecoder
from posewire_server.decoding.jpeg_batches import JpegBatches
from posewire_server.inference.networks import load_networks
from posewire_server.inference.pipeline import Pipeline
from posewire_server.streams.session import Session
from posewire_server.tracking import Tracker, TrackerConfig
from posewire_server.workers import Workers

__all__ = ["measure_streams"]

Say = Callable[[str], None]


def measure_streams(device: torch.device, say: Say) -> dict[str, Any]:
    """The nano bundle with and without its flow, which runs on the CPU; JPEGs decoded by the CPU and by the GPU."""
    on_gpu = device.type == "cuda"
    counts, seconds = ((1, 8, 32, 100), 2.5) if on_gpu else ((1, 2), 0.5)
    pictures = encoded_scene(24 if on_gpu else 4)
    figures: dict[str, Any] = {}
    for flow in ("bundle", "none") if on_gpu else ("none",):
        networks = load_networks(ServerConfig(device=str(device), flow=flow))
        say(f"{networks.device}, flow {networks.names.flow}, {len(pictures[0]) // 1000} kB a frame")
        for decoder in ("cpu", "gpu") if nvjpeg_is_here(device) else ("cpu",):
            for streams in counts:
                pipeline = Pipeline(networks, ServerConfig().batching)
                batches = JpegBatches(partial(decode_jpegs, device=device)) if decoder == "gpu" else None
                try:
                    found = asyncio.run(_measure(pipeline, device, batches, pictures, streams, seconds))
                finally:
                    pipeline.close()
                    if batches is not None:
                        batches.close()
                if on_gpu:
                    found["reserved_mb"] = torch.cuda.memory_reserved(device) / 1e6
                figures[f"flow {networks.names.flow}, jpeg {decoder}, streams {streams}"] = found
                facts = ", ".join(f"{name} {value:.1f}" for name, value in found.items())
                say(f"  jpeg {decoder}, {streams:3d} streams: {facts}")
    return figures


async def _measure(
    pipeline: Pipeline,
    device: torch.device,
    batches: JpegBatches | None,
    pictures: list[bytes],
    streams: int,
    seconds: float,
) -> dict[str, float]:
    """Each stream sends its next frame when the result arrives, so there is one frame per stream in flight."""
    threads = Workers(32 if batches is not None else ServerConfig().decoding_thread_count, "posewire-check")
    latencies_ms: list[float] = []
    began_s = time.perf_counter() + seconds / 2  # the first half warms up
    until_s = began_s + seconds
    people = 0

    def decode(decoder: PictureDecoder, data: bytes) -> Frame:
        frame = Frame(decoder.decode(data))
        frame.send_to(device)
        return frame

    async def stream(number: int) -> None:
        nonlocal people
        session = Session(str(number), Tracker(TrackerConfig(), pipeline.networks.joint_set.sigmas))
        decoder = PictureDecoder(Codec.JPEG, None, LimitsConfig(), batches)
        step = number
        while (start_s := time.perf_counter()) < until_s:
            data = pictures[step % len(pictures)]
            step += 1
            frame = await threads.run(partial(decode, decoder, data))
            tracked = await pipeline.process(session, frame)
            if start_s >= began_s:
                latencies_ms.append((time.perf_counter() - start_s) * 1e3)
                people += len(tracked.people)

    try:
        await asyncio.gather(*(stream(number) for number in range(streams)))
    finally:
        threads.close()
    took_s = time.perf_counter() - began_s
    p50, p95 = np.percentile(latencies_ms, (50, 95)).tolist() if latencies_ms else (0.0, 0.0)
    frames = max(1, len(latencies_ms))
    return {"fps": len(latencies_ms) / took_s, "p50_ms": p50, "p95_ms": p95, "people": people / frames}
