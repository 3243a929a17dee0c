"""Programs of the benchmark that run in a process of their own and are told what to do on their standard input.

It stays open for as long as somebody waits for them, and ends them when it ends.
"""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

__all__ = ["planned_process", "tell"]

# It may tell of thousands of streams.
_LONGEST_LINE = 2**24


@asynccontextmanager
async def planned_process(module: str, plan: dict[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m module` with `plan` as its first line of input, both ends piped; it is gone after the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module), stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=_LONGEST_LINE
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(plan).encode() + b"\n")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


def tell(line: str) -> None:
    """What such a program says to whoever started it. If they are gone, there is nobody to tell, nor that they are."""
    with suppress(BrokenPipeError):
        # Not by `print`: what could not be written would be tried again, and fail loudly, at the program's end.
        os.write(sys.stdout.fileno(), line.encode() + b"\n")
