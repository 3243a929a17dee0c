"""The server's process: it serves until it is told to stop, or until its GPU is lost."""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from posewire.os_errors import reason_of
from posewire_server.config import ServerConfig
from posewire_server.configuration import ConfigError
from posewire_server.errors import DeviceLost
from posewire_server.first_of import first_of
from posewire_server.observability.logs import facts
from posewire_server.server import PoseServer

__all__ = ["run", "write_port"]

log = logging.getLogger(__name__)

_STANDARD_INPUT = 0


def run(config: ServerConfig) -> None:
    """Serve until SIGTERM, SIGINT, SIGHUP or, if the configuration says so, the end of standard input.

    Raises:
        ConfigError, ValueError, OSError: the server cannot start; the message says why.
        DeviceLost: the server has drained, because its GPU has failed for good.
    """
    try:
        asyncio.run(_serve(config))
    finally:
        logging.shutdown()  # what the caller prints comes after the last line


async def _serve(config: ServerConfig) -> None:
    told_to_stop = _reasons_to_stop(config)
    server = await _start_unless_told_to_stop(config, told_to_stop)
    # These objects live as long as the server: scanning hundreds of thousands of them would delay all streams.
    gc.collect()
    gc.freeze()
    watching = asyncio.ensure_future(server.device_loss.watch())
    try:
        if config.port_file is not None:
            write_port(config.port_file, server.port)
        await first_of(told_to_stop.wait(), server.device_loss.noticed.wait())
    finally:
        watching.cancel()
        await server.stop()
        gc.unfreeze()  # extension modules complain at exit about objects that were not freed
        if config.port_file is not None:
            with suppress(OSError):  # the server has done its work
                config.port_file.unlink()
    if not told_to_stop.is_set():
        raise DeviceLost(
            f"the GPU {server.device_loss.reason}; start the server again, and look at the system's log (dmesg, "
            "nvidia-smi) if it happens again"
        )


def _reasons_to_stop(config: ServerConfig) -> asyncio.Event:
    """Set by the first signal, or the end of standard input. The second signal ends the process at once."""
    loop = asyncio.get_running_loop()
    told_to_stop = asyncio.Event()

    def stop(reason: str) -> None:
        if told_to_stop.is_set():
            log.warning("told to stop a second time (%s): leaving at once", reason)
            logging.shutdown()
            os._exit(1)
        log.info("told to stop", extra=facts(reason=reason))
        told_to_stop.set()

    def hang_up() -> None:
        if not told_to_stop.is_set():  # a closing terminal sends several
            stop("SIGHUP")

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop, number.name)
    if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # nohup has it ignored
        loop.add_signal_handler(signal.SIGHUP, hang_up)
    if config.exit_on_stdin_eof:
        _call_at_end_of_input(lambda: loop.call_soon_threadsafe(told_to_stop.set))
    return told_to_stop


async def _start_unless_told_to_stop(config: ServerConfig, told_to_stop: asyncio.Event) -> PoseServer:
    """Start the server. If told to stop before it is ready, the process ends at once, since it has no clients yet.

    Raises:
        ConfigError, ValueError, OSError: as `PoseServer.start`.
    """
    starting = asyncio.ensure_future(PoseServer.start(config))
    await first_of(starting, told_to_stop.wait())
    if not starting.done():
        log.info("stopped before it was ready")
        logging.shutdown()
        # Threads that load the networks cannot be interrupted, and a normal exit would wait for them.
        os._exit(0)
    return starting.result()


def _call_at_end_of_input(callback: Callable[[], object]) -> None:
    def read() -> None:
        # Not `sys.stdin`: the interpreter could not acquire its lock at exit.
        while os.read(_STANDARD_INPUT, 4096):
            pass
        callback()

    # A daemon: it is still blocked in `read` when the program ends for another reason.
    threading.Thread(target=read, name="posewire-stdin", daemon=True).start()


def write_port(path: Path, port: int) -> None:
    """Write the file so that a reader sees either nothing or the whole number.

    Raises:
        ConfigError: it cannot be written.
    """
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_text(f"{port}\n", encoding="utf-8")
        unfinished.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write the port to {path}: {reason_of(error)}; give another --port-file") from error
