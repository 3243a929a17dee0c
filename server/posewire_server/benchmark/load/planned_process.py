"""Programs of the benchmark that run in a process of their own and are told what to do on their standard input."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

__all__ = ["planned_process"]


@asynccontextmanager
async def planned_process(module: str, plan: dict[str, Any]) -> AsyncIterator[asyncio.subprocess.Process]:
    """`python -m module` with `plan` as its first line of input, both ends piped; it is gone after the block."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", module), stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdin is not None
        process.stdin.write(json.dumps(plan).encode() + b"\n")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
