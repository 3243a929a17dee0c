"""How busy the GPU is, by nvidia-smi."""

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
    """Means over a measurement.

    Attributes:
        busy_percent: of the time in which at least one kernel ran.
        memory_busy_percent: of the time in which memory was read or written.
        memory_mb: that was taken, the most.
    """

    busy_percent: float
    memory_busy_percent: float
    memory_mb: float


class GpuWatch:
    """Collects what nvidia-smi says."""

    def __init__(self) -> None:
        self._samples: list[tuple[float, float, float]] = []

    def take(self, line: str) -> None:
        """A line of its output; what is no numbers (`[N/A]`) is left out."""
        with suppress(ValueError):
            busy, memory_busy, memory = map(float, line.split(","))
            self._samples.append((busy, memory_busy, memory))

    def use(self) -> GpuUse | None:
        """What it amounts to; None without a sample."""
        if not self._samples:
            return None
        busy, memory_busy, memory = zip(*self._samples, strict=True)
        return GpuUse(statistics.fmean(busy), statistics.fmean(memory_busy), max(memory))


async def gpu_of(device: str) -> str:
    """The UUID of the GPU on which a server runs that was started with our environment.

    Torch is asked: nvidia-smi counts GPUs in another way (CUDA_VISIBLE_DEVICES). And in a process that ends: torch
    would keep some of the GPU's memory.

    Args:
        device: as the server reports it, e.g. `cuda:0 (...)`.

    Returns:
        As nvidia-smi takes it; empty: it runs on no GPU, or on which is not known.
    """
    number = re.match(r"cuda:(\d+)", device)
    if number is None:
        return ""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", _TELL_UUID, number[1]), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    told, _ = await process.communicate()
    return f"GPU-{told.decode().strip()}" if process.returncode == 0 else ""


@asynccontextmanager
async def watch_gpu(gpu: str) -> AsyncIterator[GpuWatch]:
    """Watch a GPU, named by its UUID, as long as the block lasts; without one, or nvidia-smi, nothing is seen."""
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
