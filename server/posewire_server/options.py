"""The command line of the server. Importing this costs little: no torch, no gRPC.

`serve` is a typer command; `posewire serve` and `python -m posewire_server` are both made of it.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from posewire.cli.failures import in_words
from posewire_models.manifest import find_bundle, read_manifest
from posewire_server.config import LimitsConfig, LogFormat, LogLevel, SecurityConfig, ServerConfig
from posewire_server.configuration import ConfigError, load_config
from posewire_server.errors import ServiceError

__all__ = ["serve"]

# Tables whose settings have flags.
_TABLES = {"limits": LimitsConfig, "security": SecurityConfig}


def serve(
    config: Annotated[
        Path | None, typer.Option(help="TOML file with settings.", envvar="POSEWIRE_CONFIG", show_envvar=True)
    ] = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM): serve with TLS.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Its private key (PEM).")] = None,
    client_ca: Annotated[
        Path | None, typer.Option(help="Authorities (PEM) whose certificates clients must show (mutual TLS).")
    ] = None,
    tokens: Annotated[
        Path | None, typer.Option(help="Hashes of the tokens that are accepted; `posewire token` makes them.")
    ] = None,
    insecure: Annotated[
        bool | None, typer.Option("--insecure", help="Let everybody in the network call: no tokens, no TLS.")
    ] = None,
    bundle: Annotated[str | None, typer.Option(help="Bundle of networks: a name, or a folder.")] = None,
    detector: Annotated[
        str | None,
        typer.Option(
            help="auto, bundle, onnx:PATH, torchvision:NAME[:WEIGHTS], published:NAME or none.", metavar="SPEC"
        ),
    ] = None,
    flow: Annotated[
        str | None,
        typer.Option(help="auto, bundle, dis[:PRESET], flownet2-s:PATH, published:NAME or none.", metavar="SPEC"),
    ] = None,
    device: Annotated[str | None, typer.Option(help="auto, cpu, cuda or cuda:N.")] = None,
    runtime: Annotated[
        str | None, typer.Option(help="Of the networks: auto, torch, openvino or cuda-graphs.", metavar="NAME")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="Of the networks: auto, float32, float16 or bfloat16.", metavar="NAME")
    ] = None,
    jpeg_decoder: Annotated[str | None, typer.Option(help="auto (the faster), cpu or gpu.", metavar="NAME")] = None,
    video_decoder: Annotated[str | None, typer.Option(help="auto (the faster), cpu or gpu.", metavar="NAME")] = None,
    threads: Annotated[
        int | None, typer.Option(help="Threads of a network on the CPU; 0: the libraries' choice.")
    ] = None,
    decode_threads: Annotated[int | None, typer.Option(help="Threads that decode frames; 0: half the cores.")] = None,
    max_streams: Annotated[int | None, typer.Option(help="Streams open at the same time.")] = None,
    max_openings_per_s: Annotated[
        float | None, typer.Option(help="Streams that one token or host may open a second.")
    ] = None,
    max_pictures: Annotated[int | None, typer.Option(help="Single pictures in work at the same time.")] = None,
    max_people: Annotated[int | None, typer.Option(help="People estimated in one frame.")] = None,
    max_inbox: Annotated[int | None, typer.Option(help="Frames of a stream that wait for their turn.")] = None,
    max_frame_bytes: Annotated[int | None, typer.Option(help="Bytes of one encoded frame.")] = None,
    max_frame_pixels: Annotated[int | None, typer.Option(help="Width times height of one frame.")] = None,
    max_fps: Annotated[
        float | None, typer.Option(help="Frames a second that are read from one stream (drop policy latest).")
    ] = None,
    max_stream_s: Annotated[float | None, typer.Option(help="Seconds that a stream may be open; 0: any.")] = None,
    max_idle_s: Annotated[
        float | None, typer.Option(help="Seconds without a frame after which a stream is drained.")
    ] = None,
    max_stall_s: Annotated[float | None, typer.Option(help="Seconds until a client must have read a response.")] = None,
    drain_grace_s: Annotated[float | None, typer.Option(help="Seconds that streams get to finish on SIGTERM.")] = None,
    resume_key: Annotated[
        Path | None, typer.Option(help="File with the secret that signs resume tokens; made if it is not there.")
    ] = None,
    log_level: Annotated[LogLevel | None, typer.Option(help="Least severity that is logged.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option(help="How log lines look.")] = None,
    metrics_port: Annotated[int | None, typer.Option(help="Serve Prometheus metrics on this port; 0: do not.")] = None,
    metrics_host: Annotated[str | None, typer.Option(help="Address for that.")] = None,
    traces: Annotated[
        str | None, typer.Option(help="OpenTelemetry collector for frames' spans, e.g. http://localhost:4317.")
    ] = None,
    traces_share: Annotated[float | None, typer.Option(help="Share of the frames that are traced, 0..1.")] = None,
    record: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Record every stream there, for `posewire replay` and `explain`.")
    ] = None,
    record_max_mb: Annotated[int | None, typer.Option(help="The oldest recordings make room beyond that.")] = None,
    port_file: Annotated[
        Path | None, typer.Option(help="File that gets the bound port once calls are accepted.")
    ] = None,
    exit_on_stdin_eof: Annotated[
        bool | None, typer.Option("--exit-on-stdin-eof", help="Stop when standard input ends.")
    ] = None,
) -> None:
    """Serve pose tracking over gRPC.

    Every setting can also stand in a TOML file (--config) or in the environment, as POSEWIRE_SERVER_ and the name in
    capitals; flags win over the environment, the environment over the file.
    """
    given = dict(locals())
    file = given.pop("config")
    flags = {_full_name(name): value for name, value in given.items()}
    try:
        start(load_config(file=file, environment=os.environ, flags=flags))
    except ConfigError as error:
        print(f"posewire: {error}", file=sys.stderr)
        raise typer.Exit(2) from None


def _full_name(flag: str) -> str:
    """`limits.max_streams` for `max_streams`."""
    for table, settings in _TABLES.items():
        if flag in {field.name for field in dataclasses.fields(settings)}:
            return f"{table}.{flag}"
    return flag


def start(config: ServerConfig) -> None:
    """Serve until told to stop; what keeps the server from starting is printed as one line, exit status 1."""
    with _ended_by_sigterm():
        _start(config)
    # Everything is closed. The interpreter would still look through all of torch for garbage, which takes it seconds
    # that whoever stops the server waits for.
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # closed (2>&-)
            stream.flush()
    os._exit(0)


def _start(config: ServerConfig) -> None:
    try:
        read_manifest(find_bundle(config.bundle))  # a mistyped name need not wait for the networks' packages
    except (ValueError, OSError) as error:
        raise _cannot_start(error) from None
    try:
        from posewire_server.observability.logs import set_up_logging
        from posewire_server.server import run
    except ModuleNotFoundError as error:
        print(
            f"posewire: the server needs the package {error.name}; install it with: pip install 'posewire[server]'",
            file=sys.stderr,
        )
        raise typer.Exit(1) from None
    set_up_logging(config.log_level, config.log_format)
    try:
        run(config)
    except (ValueError, OSError, ServiceError) as error:  # the last when a network fails on its first frame
        raise _cannot_start(error) from None


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """While the server starts, SIGTERM ends the process at once: no client is connected yet.

    Linux does not bring a container's first process a signal that it has not asked for.
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
