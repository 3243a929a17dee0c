"""How busy the GPU is, by nvidia-smi."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

__all__ = ["GpuUse", "GpuWatch", "watch_gpu"]

_EVERY_MS = 200
_FIELDS = "utilization.gpu,utilization.memory,memory.used"


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


@asynccontextmanager
async def watch_gpu() -> AsyncIterator[GpuWatch]:
    """Watch the first GPU as long as the block lasts; without nvidia-smi nothing is seen."""
    watch = GpuWatch()
    program = shutil.which("nvidia-smi")
    if program is None:
        yield watch
        return
    process = await asyncio.create_subprocess_exec(
        *(program, "--id=0", f"--query-gpu={_FIELDS}", "--format=csv,noheader,nounits", f"--loop-ms={_EVERY_MS}"),
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
