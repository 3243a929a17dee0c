"""The server of a command: a running one, or a private one, a process on a free port that ends with the command."""

from __future__ import annotations

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from posewire import ServerInfo
from posewire.cli.access import ServerAccess, access_flags_given, access_given
from posewire.cli.failures import CommandError, ExitStatus, UsageError, as_flags
from posewire.cli.progress import waiting
from posewire.os_errors import reason_of

__all__ = ["ServerChoice", "private_server", "require_detector", "require_detector_flag", "server_environment"]

_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 15.0
# A server that is not ready has no streams to finish.
_STOP_UNREADY_TIMEOUT_S = 0.5
_TAIL_LINES = 12
# Settings of a shared server that a private one ignores: access, metrics, recordings, traces.
_OF_A_PUBLIC_SERVER = tuple(f"POSEWIRE_SERVER_{name}" for name in ("SECURITY_", "METRICS_", "RECORD", "TRACES"))


@dataclass(frozen=True)
class ServerChoice:
    """Which server a command uses.

    Attributes:
        address: of a running server, or of several, separated by commas; None: start a private one.
        bundle: networks of the private server.
        detector: used instead of the bundle's.
        flow: used instead of the bundle's.
        flip_test: whether the private server averages with the poses of mirrored crops; None: as the bundle does.

    Raises:
        UsageError: networks are given for a running server, or access flags for a private one.
    """

    address: str | None = None
    bundle: str | None = None
    detector: str | None = None
    flow: str | None = None
    flip_test: bool | None = None

    def __post_init__(self) -> None:
        named = [name for name in ("bundle", "detector", "flow", "flip_test") if getattr(self, name) is not None]
        if self.address is not None and named:
            raise UsageError(
                f"{as_flags(named)} would choose the networks of a private server, but {self.address} has its own; "
                "leave these flags out, or --server"
            )
        access = access_flags_given()
        if self.address is None and access:
            raise UsageError(
                f"{as_flags(access)} would have no effect on a private server, which only this command reaches; name "
                "yours with --server, or leave them out"
            )

    @contextlib.contextmanager
    def running(self, *, quiet: bool) -> Iterator[ServerAccess]:
        """How to reach the server; a private one runs until the block ends, and is not restarted.

        Unless quiet, whoever watches sees that it is being started.
        """
        if self.address is not None:
            yield access_given(self.address)
            return
        named = [(f"--{name}", getattr(self, name)) for name in ("bundle", "detector", "flow")]
        flags = [part for flag, value in named if value is not None for part in (flag, value)]
        if self.flip_test is not None:
            flags.append("--flip-test" if self.flip_test else "--no-flip-test")
        with contextlib.ExitStack() as stack:
            with waiting("starting a private server", quiet=quiet):
                address = stack.enter_context(private_server(flags))
            yield ServerAccess((address,), reconnects=False)


def require_detector_flag(server: ServerChoice) -> None:
    """Check before a server is started that it will have a detector.

    Raises:
        UsageError: the detector is `none`.
    """
    if server.detector == "none":
        raise UsageError("with --detector none nobody would be found; leave it out, or name a detector")


def require_detector(info: ServerInfo, server: ServerChoice) -> None:
    """Check that the server has a detector.

    Raises:
        CommandError: it has none; the message says what to do.
    """
    if info.has_detector:
        return
    if server.address is None:
        raise CommandError(
            f"the bundle {info.models.bundle!r} has no person detector, so nobody would be found; give one with "
            "--detector onnx:PATH (YOLOX, or any that gives boxes, scores and labels) or --detector torchvision:NAME, "
            "or another --bundle"
        )
    raise CommandError(
        f"the server at {server.address} has no person detector, so nobody would be found; start it with "
        "--detector onnx:PATH, or use one that has a detector"
    )


@contextlib.contextmanager
def private_server(flags: Sequence[str] = ()) -> Iterator[str]:
    """Start `python -m posewire_server` with additional flags; yields its address.

    The server has the read end of a pipe whose write end only this process has: however this process ends, the pipe is
    closed and the server ends. It has its own session, so that Ctrl-C in a terminal reaches only this process, which
    can finish its files first. Its settings come from the environment, without a settings file and without the settings
    of a shared server: with the tokens of that one, nobody could call this one. Nothing is imported from the working
    folder (`-P`), in which a user's `queue.py` may lie: `posewire` itself does not do so either.

    Raises:
        CommandError: it does not start; the message is the server's.
        UsageError: likewise, because of a wrong flag.
    """
    try:
        temporary = tempfile.TemporaryDirectory(prefix="posewire-")
    except OSError as error:
        raise CommandError(
            f"the private server needs a folder for temporary files ({reason_of(error)}); set TMPDIR to one that can "
            "be written to"
        ) from error
    with temporary as folder:
        port_file, log_file = Path(folder) / "port", Path(folder) / "log"
        command = [
            sys.executable, "-P", "-m", "posewire_server", "--host", "127.0.0.1", "--port", "0",
            "--port-file", str(port_file), "--exit-on-stdin-eof", "--log-level", "warning", *flags,
        ]  # fmt: skip
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=server_environment(_OF_A_PUBLIC_SERVER),
                start_new_session=True,
                close_fds=True,
            )
        ready = False
        try:
            port = _await_port(process, port_file, log_file)
            ready = True
            yield f"127.0.0.1:{port}"
            if process.poll() is not None:
                raise _ended(process, log_file, "ended early")
        finally:
            _stop(process, ready=ready)


def server_environment(left_out: str | tuple[str, ...]) -> dict[str, str]:
    """The environment for a private server: without a settings file and variables that start with `left_out`."""
    return {
        name: value for name, value in os.environ.items() if name != "POSEWIRE_CONFIG" and not name.startswith(left_out)
    }


def _await_port(process: subprocess.Popen[bytes], port_file: Path, log_file: Path) -> int:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while not port_file.exists():
        if process.poll() is not None:
            raise _ended(process, log_file, "did not start")
        if time.monotonic() > deadline:
            raise CommandError(f"the private server was not ready after {_START_TIMEOUT_S:.0f} s; try `posewire serve`")
        time.sleep(0.02)
    return int(port_file.read_text())


def _ended(process: subprocess.Popen[bytes], log_file: Path, what: str) -> CommandError:
    """The server's last error message, or the end of its log if there is none; wrong usage if it was that."""
    kind = UsageError if process.returncode == ExitStatus.USAGE else CommandError
    lines = log_file.read_text(errors="replace").strip().splitlines()
    own = [line.removeprefix("posewire: ") for line in lines if line.startswith("posewire: ")]
    if own:
        last = re.sub(r"^the server cannot start: ", "", own[-1])
        return kind(f"the private server {what}: {last}")
    tail = "\n".join(f"  {line}" for line in lines[-_TAIL_LINES:])
    return kind(f"the private server {what} (exit status {process.returncode})" + (f":\n{tail}" if tail else ""))


def _stop(process: subprocess.Popen[bytes], *, ready: bool) -> None:
    """Let a server that is ready finish, and terminate one that is not; kill it if it does not end."""
    if process.stdin is not None:
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    if not ready:
        process.terminate()
    for insist in (process.terminate, process.kill):
        try:
            process.wait(_STOP_TIMEOUT_S if ready else _STOP_UNREADY_TIMEOUT_S)
            return
        except subprocess.TimeoutExpired:
            insist()
    process.wait()
