"""The command line of the server. Importing this is cheap: no torch, no gRPC.

`serve` is the typer command behind both `posewire serve` and `python -m posewire_server`.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
import typing
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from operator import attrgetter
from pathlib import Path
from typing import Annotated

import typer

from posewire.cli.failures import IMPORT_FAILURES, import_failure, in_words
from posewire.cli.options import FlipTestFlag
from posewire_models.manifest import find_bundle, read_manifest
from posewire_server.config import LimitsConfig, LogFormat, LogLevel, SecurityConfig, ServerConfig
from posewire_server.configuration import ConfigError, load_config
from posewire_server.errors import DeviceLost, ServiceError

__all__ = ["serve"]

# Tables whose settings have flags.
_TABLES = {"limits": LimitsConfig, "security": SecurityConfig}


def _full_name(flag: str) -> str:
    """The name of a flag's setting: `limits.max_streams` for `max_streams`."""
    for table, settings in _TABLES.items():
        if flag in {field.name for field in dataclasses.fields(settings)}:
            return f"{table}.{flag}"
    return flag


def _showing_defaults(command: Callable[..., None]) -> Callable[..., None]:
    """Let the help show the settings' defaults: the flags' own default is None, so that a file can have the setting."""
    kinds, settings = typing.get_type_hints(command, include_extras=True), ServerConfig()
    for name in kinds.keys() - {"config", "return"}:
        default = attrgetter(_full_name(name))(settings)
        if not (default is None or default is False or default == ""):
            (option,) = kinds[name].__metadata__
            option.show_default = str(default)
    command.__annotations__ = kinds
    return command


@_showing_defaults
def serve(
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings.", envvar="POSEWIRE_CONFIG", show_envvar=True)
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (0: any free one).")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain of the server (PEM); turns on TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key of the server's certificate (PEM).")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="Authorities (PEM) that must have signed client certificates (mutual TLS).")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="File with the hashes of accepted tokens; see `posewire token`.")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Allow serving other machines without tokens or TLS.")
    ] = None,
    bundle: Annotated[str | None, typer.Option(help="Name or folder of the bundle of networks.")] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="Detector: auto, bundle, onnx:PATH, torchvision:NAME, torchvision:NAME:WEIGHTS, published:NAME or"
            " none.",
            metavar="SPEC",
        ),
    ] = None,
    flow: Annotated[
        str | None,
        typer.Option(
            help="Optical flow: auto, bundle, dis[:PRESET], flownet2-s:PATH, published:NAME or none.", metavar="SPEC"
        ),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Device of the networks: auto, cpu, cuda or cuda:N.")] = None,
    runtime: Annotated[
        str | None, typer.Option(help="Runtime of the networks: auto, torch, openvino or cuda-graphs.", metavar="NAME")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Precision of the networks: auto, float32, float16 or bfloat16.", metavar="NAME")
    ] = None,
    flip_test: FlipTestFlag = None,
    jpeg_decoder: Annotated[
        str | None, typer.Option(help="JPEG decoder: auto (the faster one), cpu or gpu.", metavar="NAME")
    ] = None,
    video_decoder: Annotated[
        str | None, typer.Option(help="H.264 and H.265 decoder: auto (the faster one), cpu or gpu.", metavar="NAME")
    ] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of each network on the CPU (0: chosen by the libraries).")
    ] = None,
    decode_threads: Annotated[int | None, typer.Option(help="Threads for decoding frames (0: half the cores).")] = None,
    max_streams: Annotated[int | None, typer.Option(help="Maximum number of concurrent streams.")] = None,
    max_openings_per_s: Annotated[
        float | None, typer.Option(help="Maximum number of streams that one token or host may open per second.")
    ] = None,
    max_queries_per_s: Annotated[
        float | None, typer.Option(help="Maximum number of questions and failing calls of a token or host per second.")
    ] = None,
    max_pictures: Annotated[
        int | None, typer.Option(help="Maximum number of single pictures in progress at the same time.")
    ] = None,
    max_people: Annotated[int | None, typer.Option(help="Maximum number of people in a frame.")] = None,
    max_inbox: Annotated[int | None, typer.Option(help="Maximum number of waiting frames per stream.")] = None,
    max_frame_bytes: Annotated[int | None, typer.Option(help="Maximum size of an encoded frame in bytes.")] = None,
    max_frame_pixels: Annotated[int | None, typer.Option(help="Maximum size of a frame, width times height.")] = None,
    max_fps: Annotated[
        float | None, typer.Option(help="Maximum frames per second read from a stream with drop policy latest.")
    ] = None,
    max_stream_s: Annotated[
        float | None, typer.Option(help="Maximum duration of a stream in seconds (0: unlimited).")
    ] = None,
    max_idle_s: Annotated[
        float | None, typer.Option(help="Seconds without a frame after which a stream is drained (0: unlimited).")
    ] = None,
    max_stall_s: Annotated[
        float | None, typer.Option(help="Seconds within which a client must read a response.")
    ] = None,
    drain_grace_s: Annotated[
        float | None, typer.Option(help="Seconds that streams have to finish after SIGTERM.")
    ] = None,
    resume_key: Annotated[
        Path | None, typer.Option(help="File with the secret that signs resume tokens; created if missing.")
    ] = None,
    log_level: Annotated[
        LogLevel | None,
        typer.Option(help=f"Minimum severity of log messages: {', '.join(LogLevel)}.", metavar="LEVEL"),
    ] = None,
    log_format: Annotated[
        LogFormat | None, typer.Option(help=f"Format of log lines: {', '.join(LogFormat)}.", metavar="NAME")
    ] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Port for Prometheus metrics (0: none).")] = None,
    metrics_host: Annotated[str | None, typer.Option(help="Address for Prometheus metrics.")] = None,
    traces: Annotated[
        str | None, typer.Option(help="OpenTelemetry collector for traces of frames, e.g. http://localhost:4317.")
    ] = None,
    traces_share: Annotated[float | None, typer.Option(help="Share of frames to trace, 0..1.")] = None,
    record: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to record every stream in, for `posewire replay` and `explain`."),
    ] = None,
    record_max_mb: Annotated[
        int | None, typer.Option(help="Maximum size of all recordings in MB; the oldest are deleted.")
    ] = None,
    port_file: Annotated[
        Path | None, typer.Option(help="File to write the port to once the server accepts calls.")
    ] = None,
    exit_on_stdin_eof: Annotated[
        bool | None, typer.Option("--exit-on-stdin-eof", help="Stop when standard input is closed.")
    ] = None,
) -> None:
    """Serve pose tracking over gRPC.

    Every setting can also be given in a TOML file (--config) or in the environment, as POSEWIRE_SERVER_ and the name
    in capitals. Flags override the environment, and the environment overrides the file.
    """
    given = dict(locals())
    file = given.pop("config")
    flags = {_full_name(name): value for name, value in given.items()}
    try:
        start(load_config(file=file, environment=os.environ, flags=flags))
    except ConfigError as error:
        print(f"posewire: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


def start(config: ServerConfig) -> None:
    """Serve until told to stop. If the server cannot start or go on, print the reason in one line; exit status 1."""
    with _ended_by_sigterm():
        _start(config)
    # Everything is closed. A normal exit would still collect garbage in all of torch, which takes seconds.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # None if it was closed (2>&-)
            stream.flush()
    os._exit(0)


def _start(config: ServerConfig) -> None:
    try:
        read_manifest(find_bundle(config.bundle))  # reports a mistyped name before the slow imports
    except (ValueError, OSError) as error:
        raise _cannot_start(error) from None
    try:
        from posewire_server.observability.logs import set_up_logging
        from posewire_server.process import run
    except IMPORT_FAILURES as error:
        print(f"posewire: {import_failure('the server', error)}", file=sys.stderr)
        raise typer.Exit(1) from None
    set_up_logging(config.log_level, config.log_format)
    try:
        run(config)
    except (ValueError, OSError, ServiceError) as error:  # ServiceError: a network fails on its first frame
        raise _cannot_start(error) from None
    except DeviceLost as error:
        print(f"posewire: {error}", file=sys.stderr, flush=True)
        os._exit(1)  # a normal exit would free what is on the GPU, and abort


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """While the server starts, SIGTERM ends the process at once: no client is connected yet.

    Linux delivers a signal to a container's first process only if the process has a handler for it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _cannot_start(error: Exception) -> typer.Exit:
    why = in_words(error) if isinstance(error, OSError) else str(error)
    print(f"posewire: the server cannot start: {why}", file=sys.stderr)
    return typer.Exit(1)
