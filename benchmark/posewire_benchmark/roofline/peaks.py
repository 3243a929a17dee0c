"""Measures the peak performance of a device, since data sheets do not know its clock, cooling or neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.nn import functional

from posewire_benchmark.roofline.timing import best_s

__all__ = ["Peaks", "Workload", "measure_peaks"]


@dataclass(frozen=True, kw_only=True)
class Workload:
    """Sizes for measuring the peaks.

    Attributes:
        matrix: side of the square matrices.
        images: number of images in the convolution's batch.
        channels: of the convolution, in and out.
        copied_bytes: size of the copy; far larger than any cache.
    """

    matrix: int
    images: int
    channels: int
    copied_bytes: int


@dataclass(frozen=True)
class Peaks:
    """Peaks of one device in one precision.

    Attributes:
        matmul_gmacs: 10^9 multiply-adds per second of a large matrix product.
        convolution_gmacs: of a large 3x3 convolution, at the size of the pose network's layers.
        copy_gbs: 10^9 bytes per second that a copy reads and writes.
    """

    matmul_gmacs: float
    convolution_gmacs: float
    copy_gbs: float

    @property
    def gmacs(self) -> float:
        """The better of the two, which networks are compared with."""
        return max(self.matmul_gmacs, self.convolution_gmacs)


_ON_CPU = Workload(matrix=1536, images=4, channels=256, copied_bytes=2**28)
_ON_GPU = Workload(matrix=8192, images=64, channels=256, copied_bytes=2**30)
_MAP = (64, 48)


def measure_peaks(device: torch.device, dtype: torch.dtype, budget_s: float, workload: Workload | None) -> Peaks:
    """Measure all three peaks.

    Args:
        device: to measure.
        dtype: of the values.
        budget_s: time for each of the three.
        workload: sizes; None: those for the device.
    """
    of = workload or (_ON_GPU if device.type == "cuda" else _ON_CPU)
    with torch.inference_mode():
        left, right = (torch.randn(of.matrix, of.matrix, device=device).to(dtype) for _ in range(2))
        product_s = best_s(lambda: left @ right, device, budget_s)
        shape = (of.images, of.channels, *_MAP)
        images = torch.randn(shape, device=device).to(dtype).contiguous(memory_format=torch.channels_last)
        kernel = torch.randn(of.channels, of.channels, 3, 3, device=device).to(dtype)
        kernel = kernel.contiguous(memory_format=torch.channels_last)
        convolution_s = best_s(lambda: functional.conv2d(images, kernel, padding=1), device, budget_s)
        source = torch.ones(of.copied_bytes, dtype=torch.uint8, device=device)
        target = torch.empty_like(source)
        copy_s = best_s(lambda: target.copy_(source), device, budget_s)
    return Peaks(
        matmul_gmacs=of.matrix**3 / product_s / 1e9,
        convolution_gmacs=of.images * of.channels**2 * 9 * _MAP[0] * _MAP[1] / convolution_s / 1e9,
        copy_gbs=2 * of.copied_bytes / copy_s / 1e9,
    )
