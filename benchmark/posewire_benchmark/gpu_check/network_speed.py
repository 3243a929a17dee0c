"""Speed of each network alone, by batch size and precision, with and without CUDA graphs, and the device's peak."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from posewire_benchmark.random_bundle import random_network
from posewire_benchmark.roofline.networks import BundleNetwork, bundle_networks, torchvision_component
from posewire_benchmark.roofline.peaks import Peaks, Workload, measure_peaks
from posewire_benchmark.roofline.timing import median_s
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.torchvision_models import TorchvisionDetector
from posewire_models.frames import Frame
from posewire_models.inference import BATCH_SIZES, runner
from posewire_models.network_cost import network_cost
from posewire_models.precision import select_precision

__all__ = ["measure_networks"]

# After this time, remaining measurements are skipped: the whole program has a time limit.
_BUDGET_S = 130.0
_TINY = Workload(matrix=256, images=1, channels=32, copied_bytes=2**20)
_PAPER = "paper-r50"
Say = Callable[[str], None]


@torch.inference_mode()
def measure_networks(device: torch.device, point_s: float, say: Say) -> dict[str, Any]:
    """Milliseconds per batch, and the share of the peak of a matrix product in the same precision."""
    until = time.perf_counter() + _BUDGET_S
    on_gpu = device.type == "cuda"
    sizes, precisions = (BATCH_SIZES, ("float16", "bfloat16", "float32")) if on_gpu else ((1, 2), ("float32",))
    peaks: dict[str, Peaks] = {}
    for precision in precisions:
        dtype = select_precision(precision, device)
        peaks[precision] = measure_peaks(device, dtype, point_s, None if on_gpu else _TINY)
        say(f"peak in {precision}: {2 * peaks[precision].matmul_gmacs / 1e3:.1f} TFLOP/s")
    points: list[dict[str, Any]] = []
    for precision in precisions:
        for network in (
            each for bundle in ("nano", *([_PAPER] if on_gpu else [])) for each in bundle_networks(bundle, device)[0]
        ):
            for runtime in ("torch", "cuda-graphs") if on_gpu else ("torch",):
                if time.perf_counter() > until:
                    say(f"left out for lack of time: {network.bundle} {network.name} {precision} {runtime}")
                    continue
                points += _points(network, device, runtime, precision, sizes, peaks[precision], point_s, say)
    if on_gpu:
        points += _torchvision_points(device, point_s, say)
    return {"peaks_gmacs": {name: peak.matmul_gmacs for name, peak in peaks.items()}, "points": points}


def _points(
    network: BundleNetwork,
    device: torch.device,
    runtime: str,
    precision: str,
    sizes: tuple[int, ...],
    peaks: Peaks,
    point_s: float,
    say: Say,
) -> list[dict[str, Any]]:
    built = network.build()
    shape = built.input_shape
    macs = network_cost(built, shape).multiply_adds
    began_s = time.perf_counter()
    run = runner(built, shape, device, runtime, precision)
    ready_s = time.perf_counter() - began_s
    name = f"{network.bundle} {network.name}"
    points, texts = [], []
    for size in sizes:
        images = torch.randn(size, *shape, device=device).contiguous(memory_format=torch.channels_last)
        seconds = median_s(lambda images=images: run(images), device, point_s)  # type: ignore[misc]
        share = size * macs / seconds / 1e9 / peaks.matmul_gmacs
        points.append(
            {"network": name, "runtime": runtime, "precision": precision, "batch": size, "ms": seconds * 1e3}
            | {"share_of_peak": share, "ready_s": ready_s}
        )
        texts.append(f"{size}: {seconds * 1e3:.3f} ({share:.0%})")
    say(f"{name} {precision} {runtime}, ready in {ready_s:.1f} s; ms (of peak)  " + "  ".join(texts))
    return points


def _torchvision_points(device: torch.device, point_s: float, say: Say) -> list[dict[str, Any]]:
    component = torchvision_component(_PAPER)
    if component is None:
        return []
    name = str(component.network["name"])
    frames = [Frame(np.random.default_rng(0).integers(0, 256, (720, 1280, 3), dtype=np.uint8)) for _ in range(8)]
    points = []
    with tempfile.TemporaryDirectory(prefix="posewire-gpu-") as folder:
        path = Path(folder) / "weights.safetensors"
        save_file(random_network(component, "detector").state_dict(), path)
        for precision in ("float32", "float16"):
            detector = TorchvisionDetector(name, path, DetectorSettings(), device, precision)
            for size in (1, 4, 8):
                detector(frames[:size])
                began_s, calls = time.perf_counter(), 0
                while (passed_s := time.perf_counter() - began_s) < 4 * point_s:
                    detector(frames[:size])
                    calls += 1
                ms = passed_s / calls * 1e3
                points.append({"network": f"{_PAPER} {name}", "precision": precision, "batch": size, "ms": ms})
                say(f"{_PAPER} {name} {precision}, {size} frames of 720p: {ms:.1f} ms")
    return points
