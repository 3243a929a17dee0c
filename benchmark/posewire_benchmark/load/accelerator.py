"""GPU utilisation from nvidia-smi."""

from __future__ import annotations

import asyncio
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

__all__ = ["GpuUse", "GpuWatch", "gpu_of", "watch_gpu"]

_EVERY_MS = 200
_FIELDS = "utilization.gpu,utilization.memory,memory.used"
_TELL_UUID = "import sys, torch; print(torch.cuda.get_device_properties(int(sys.argv[1])).uuid)"


@dataclass(frozen=True)
class GpuUse:
    """Utilisation during a measurement.

    Attributes:
        busy_percent: share of time in which at least one kernel ran, mean.
        memory_busy_percent: share of time in which memory was read or written, mean.
        memory_mb: memory in use, maximum.
    """

    busy_percent: float
    memory_busy_percent: float
    memory_mb: float


class GpuWatch:
    """Collects the output of nvidia-smi."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float, float]] = []

    def take(self, line: str) -> None:
        """Add a line of its output; lines with values that are not numbers (`[N/A]`) are ignored."""
        with suppress(ValueError):
            busy, memory_busy, memory = map(float, line.split(","))
            self._samples.append((busy, memory_busy, memory))

    def use(self) -> GpuUse | None:
        """The utilisation so far; None without a sample."""
        if not self._samples:
            return None
        busy, memory_busy, memory = zip(*self._samples, strict=True)
        return GpuUse(statistics.fmean(busy), statistics.fmean(memory_busy), max(memory))


async def gpu_of(device: str) -> str:
    """The UUID of the GPU used by a server that was started with our environment.

    Found by torch, since nvidia-smi ignores CUDA_VISIBLE_DEVICES; in a separate process, since torch would keep some of
    the GPU's memory.

    Args:
        device: as the server reports it, e.g. `cuda:0 (...)`.

    Returns:
        In the form that nvidia-smi takes; empty: no GPU is used, or it is not known which.
    """
    number = re.match(r"cuda:(\d+)", device)
    if number is None:
        return ""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-c", _TELL_UUID, number[1]), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    told, _ = await process.communicate()
    return f"GPU-{told.decode().strip()}" if process.returncode == 0 else ""


@asynccontextmanager
async def watch_gpu(gpu: str) -> AsyncIterator[GpuWatch]:
    """Watch the GPU with this UUID during the block; without a GPU or nvidia-smi, there are no samples."""
    watch = GpuWatch()
    program = shutil.which("nvidia-smi") if gpu else None
    if program is None:
        yield watch
        return
    process = await asyncio.create_subprocess_exec(
        *(program, f"--id={gpu}", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits", f"--loop-ms={_EVERY_MS}"),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )

    async def read() -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            watch.take(line.decode("ascii", "replace"))

    reading = asyncio.create_task(read())
    try:
        yield watch
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        await process.wait()
        await reading
