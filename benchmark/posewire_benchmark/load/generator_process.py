"""The parent's side of a load generator process."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from posewire_benchmark.load.generator import Closing, GeneratorPlan
from posewire_benchmark.load.planned_process import planned_process

__all__ = ["GeneratorProcess", "StreamsRefused", "generator_process"]

_READY_TIMEOUT_S = 120.0


class StreamsRefused(RuntimeError):  # noqa: N818  it says what happened
    """The server does not accept this many streams, or openings at this rate."""


class GeneratorProcess:
    """A running generator process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ready(self) -> None:
        """Wait until its streams are open.

        Raises:
            StreamsRefused: the server accepts no more of them.
            RuntimeError: they cannot be opened for another reason, or the process dies.
        """
        try:
            line = await asyncio.wait_for(self._line(), _READY_TIMEOUT_S)
        except TimeoutError:
            raise RuntimeError(f"the streams were not open after {_READY_TIMEOUT_S:g} s") from None
        if line != "ready":
            closing = Closing(**json.loads(line))
            raise (StreamsRefused if closing.refused else RuntimeError)(closing.error)

    def start(self, start_s: float) -> None:
        """Tell it when the schedule starts."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{start_s!r}\n".encode())

    async def closing(self) -> Closing:
        """Wait until it ends, and return its report."""
        closing = Closing(**json.loads(await self._line()))
        await self._process.wait()  # it is about to exit: if killed now, it would lose its exit status
        if closing.error:
            raise RuntimeError(closing.error)
        return closing

    async def _line(self) -> str:
        assert self._process.stdout is not None
        line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a load generator ended early (exit status {await self._process.wait()})")
        return line.decode().strip()


@asynccontextmanager
async def generator_process(plan: GeneratorPlan) -> AsyncIterator[GeneratorProcess]:
    """A process that sends according to `plan` and has ended after the block."""
    async with planned_process("posewire_benchmark.load.generator", dataclasses.asdict(plan)) as process:
        yield GeneratorProcess(process)
