"""Child processes of the benchmark that read a plan from standard input.

It stays open as long as the parent waits for them; they end when it closes.
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

# A line may describe thousands of streams.
_LONGEST_LINE = 2**24


@asynccontextmanager
async def planned_process(module: str, plan: dict[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `python -m module` with pipes and `plan` as its first line of input; it has ended after the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", module), stdin=subprocess.PIPE, stdout=subprocess.PIPE, limit=_LONGEST_LINE
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
    """Write a line from such a program to its parent. Does nothing if the parent is gone."""
    with suppress(BrokenPipeError):
        # Not `print`: on exit, it would try to write unwritten output again, and fail with an error message.
        os.write(sys.stdout.fileno(), line.encode() + b"\n")
