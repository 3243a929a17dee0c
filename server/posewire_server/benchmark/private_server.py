"""A server process of the benchmark's own, and how much memory it has."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from posewire_server.config import ServerConfig

__all__ = ["PrivateServer", "private_server"]

_START_TIMEOUT_S = 120.0
_LOOK_EVERY_S = 0.02


class PrivateServer:
    """A running server process.

    Attributes:
        address: to connect to.
    """

    def __init__(self, address: str, pid: int) -> None:
        self.address = address
        self._pid = pid

    def memory_mb(self) -> float | None:
        """Its resident memory; None where the system has no /proc."""
        try:
            status = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii")
        except OSError:
            return None
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024 / 1e6


@asynccontextmanager
async def private_server(config: ServerConfig) -> AsyncIterator[PrivateServer]:
    """Start `python -m posewire_server` with the networks of `config`; it ends with this program.

    Raises:
        RuntimeError: it does not start; the message has its own words.
    """
    with tempfile.TemporaryDirectory(prefix="posewire-bench-") as folder:
        port_file = Path(folder) / "port"
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "posewire_server", "--host", "127.0.0.1", "--port", "0"),
            *("--port-file", str(port_file), "--resume-key", str(Path(folder) / "key"), "--exit-on-stdin-eof"),
            *("--bundle", config.bundle, "--detector", config.detector, "--flow", config.flow),
            *("--device", config.device, "--threads", str(config.threads), "--log-level", "warning"),
            stdin=subprocess.PIPE,
        )
        try:
            yield PrivateServer(f"127.0.0.1:{await _port(port_file, process)}", process.pid)
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def _port(file: Path, process: asyncio.subprocess.Process) -> int:
    """The port that the server writes down once it accepts calls."""
    for _ in range(int(_START_TIMEOUT_S / _LOOK_EVERY_S)):
        text = await asyncio.to_thread(lambda: file.read_text(encoding="ascii") if file.exists() else "")
        if text:
            return int(text)
        if process.returncode is not None:
            raise RuntimeError(f"the server did not start (exit status {process.returncode})")
        await asyncio.sleep(_LOOK_EVERY_S)
    raise RuntimeError(f"the server was not ready after {_START_TIMEOUT_S:g} s")
