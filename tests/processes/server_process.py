"""A server as a process, which a test may kill and start again at the same address."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing.context import ForkServerProcess
from pathlib import Path

from tests.processes.stand_in_server import serve

__all__ = ["ServerProcess", "serving"]

_START_TIMEOUT_S = 120.0
# Servers are forked off a process that has imported everything and done nothing yet: each a process of its own as much
# as any, in a tenth of a second instead of three.
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([serve.__module__])


class ServerProcess:
    """One server; `start` again after `kill` or `terminate` gives another one at the same address.

    Args:
        folder: for its files: the port and the log.
        flags: of `posewire serve`.
        stand_ins: quick stand-in networks instead of a bundle.
    """

    def __init__(self, folder: Path, flags: Sequence[str] = (), *, stand_ins: bool = True) -> None:
        self._folder = folder
        self._flags = list(flags)
        self._stand_ins = stand_ins
        self._port = 0
        self._process: ForkServerProcess | None = None
        self.log = folder / "log"

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def start(self) -> ServerProcess:
        """Start it and wait until it accepts calls."""
        port_file = self._folder / "port"
        port_file.unlink(missing_ok=True)
        flags = ["--port", str(self._port), "--port-file", str(port_file), "--log-format", "json", *self._flags]
        given = (flags, self.log, dict(os.environ), self._stand_ins)
        self._process = _FORKS.Process(target=serve, args=given, daemon=True)
        self._process.start()
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not port_file.exists():
            assert self.exit_status is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)
        self._port = int(port_file.read_text())
        return self

    def kill(self) -> None:
        """As the kernel does when memory runs out."""
        self._end(signal.SIGKILL)

    def terminate(self) -> float:
        """As a redeployment does; gives the seconds until it was gone."""
        start = time.monotonic()
        self._end(signal.SIGTERM)
        return time.monotonic() - start

    def stop(self) -> None:
        """Whatever it takes."""
        if self._process is not None and self.exit_status is None:
            self.kill()

    def suspend(self) -> None:
        """It stays there and says nothing more, until `wake`."""
        os.kill(self.pid, signal.SIGSTOP)

    def wake(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    @property
    def exit_status(self) -> int | None:
        return None if self._process is None else self._process.exitcode

    def wait(self) -> None:
        """Until it has ended."""
        if self._process is not None:
            self._process.join(60)
        assert self.exit_status is not None, self.log.read_text()

    def _end(self, number: signal.Signals) -> None:
        os.kill(self.pid, number)
        self.wait()


@contextmanager
def serving(folder: Path, *flags: str, stand_ins: bool = True) -> Iterator[ServerProcess]:
    """A server that runs as long as the block does."""
    folder.mkdir(parents=True, exist_ok=True)
    server = ServerProcess(folder, flags, stand_ins=stand_ins)
    try:
        yield server.start()
    finally:
        server.stop()
