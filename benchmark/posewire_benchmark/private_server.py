"""The benchmark's own server process, and its memory use."""

from __future__ import annotations

import asyncio
import dataclasses
import socket
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from posewire.cli.access import ServerAccess
from posewire.cli.private_server import server_environment
from posewire_benchmark.credentials import make_credentials, make_tokens
from posewire_server.config import LogLevel, SecurityConfig, ServerConfig
from posewire_server.configuration import ENVIRONMENT_PREFIX

__all__ = ["PrivateServer", "environment_of", "private_server"]

_START_TIMEOUT_S = 180.0
_LOOK_EVERY_S = 0.02
_METRICS_HOST = "127.0.0.1"


class PrivateServer:
    """A running server process.

    Attributes:
        accesses: how it is reached, one per token.
        metrics_url: URL of its metrics.
    """

    def __init__(self, accesses: Sequence[ServerAccess], pid: int, metrics_url: str) -> None:
        self.accesses = tuple(accesses)
        self.metrics_url = metrics_url
        self._pid = pid

    @property
    def access(self) -> ServerAccess:
        """The first of `accesses`."""
        return self.accesses[0]

    def memory_mb(self) -> float | None:
        """Its resident memory; None if the system has no /proc."""
        try:
            status = Path(f"/proc/{self._pid}/status").read_text(encoding="ascii")
        except OSError:
            return None
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) * 1024 / 1e6


@asynccontextmanager
async def private_server(
    config: ServerConfig, *, inject_people: int = 0, bare: bool = False, secured: bool = False, tokens: int = 0
) -> AsyncIterator[PrivateServer]:
    """Start `python -m posewire_server` with the settings of `config`; it ends with this program.

    Args:
        config: its settings; address, port files and logs are set by the benchmark.
        inject_people: run the detector, but replace its results by this many people; see `injected_server`.
        bare: the networks take no time, and see that many people; see `bare_server`.
        secured: use TLS and require a token.
        tokens: without TLS, require one of this many tokens, each of which is a different caller to the server.

    Raises:
        RuntimeError: it does not start (the server prints why to standard error), or it cannot be secured.
    """
    with tempfile.TemporaryDirectory(prefix="posewire-bench-") as folder:
        port_file, metrics_port = Path(folder) / "port", _free_port()
        own = ServerConfig()
        security, access, given = config.security, ServerAccess(), [""]
        if secured:
            credentials = make_credentials(Path(folder), own.host)
            security, access, given = credentials.of_server, ServerAccess(ca=credentials.cert), [credentials.token]
        elif tokens:
            token_file = Path(folder) / "tokens"
            security, given = SecurityConfig(tokens=token_file), make_tokens(token_file, tokens)
        settings = dataclasses.replace(
            config,
            host=own.host,
            port=0,
            port_file=port_file,
            resume_key=config.resume_key or Path(folder) / "key",
            metrics_port=metrics_port,
            metrics_host=_METRICS_HOST,
            log_level=LogLevel.WARNING,
            exit_on_stdin_eof=True,
            security=security,
        )
        program = ["posewire_server"]
        if inject_people:
            program = [f"posewire_benchmark.{'bare' if bare else 'injected'}_server", str(inject_people)]
        # Without the user's own server settings: results depend only on the command.
        environment = server_environment(ENVIRONMENT_PREFIX) | environment_of(settings)
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", *program), stdin=subprocess.PIPE, env=environment
        )
        try:
            addresses = (f"{own.host}:{await _port(port_file, process)}",)
            accesses = [dataclasses.replace(access, addresses=addresses, token=token) for token in given]
            yield PrivateServer(accesses, process.pid, f"http://{_METRICS_HOST}:{metrics_port}/metrics")
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


def environment_of(config: ServerConfig) -> dict[str, str]:
    """The settings that differ from the defaults, as environment variables, since not all of them have a flag."""
    return {
        ENVIRONMENT_PREFIX + name.replace(".", "_").upper(): str(value)
        for name, value in _differing(config, ServerConfig(), "")
    }


def _differing(config: Any, default: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    for field in dataclasses.fields(config):
        value, usual = getattr(config, field.name), getattr(default, field.name)
        if dataclasses.is_dataclass(value):
            yield from _differing(value, usual, f"{prefix}{field.name}.")
        elif value != usual:
            yield prefix + field.name, value


def _free_port() -> int:
    """A port that is currently free."""
    with socket.socket() as listener:
        listener.bind((_METRICS_HOST, 0))
        port: int = listener.getsockname()[1]
        return port


async def _port(file: Path, process: asyncio.subprocess.Process) -> int:
    """The port, which the server writes to `file` once it accepts calls."""
    for _ in range(int(_START_TIMEOUT_S / _LOOK_EVERY_S)):
        text = await asyncio.to_thread(lambda: file.read_text(encoding="ascii") if file.exists() else "")
        if text:
            return int(text)
        if process.returncode is not None:
            raise RuntimeError(f"the server did not start (exit status {process.returncode})")
        await asyncio.sleep(_LOOK_EVERY_S)
    raise RuntimeError(f"the server was not ready after {_START_TIMEOUT_S:g} s")
