"""The server as a program: `python -m posewire_server`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest

from tests.integration.certificates import Authority
from tests.integration.raw_http2 import raw_call
from tests.integration.service_calls import ALL, TrackClient, connected
from tests.server.stand_ins import jpeg, picture

_ROOT = Path(__file__).parents[2]
# The same program with stand-in networks, for tests that do not need the real ones: loading these takes seconds.
_WITHOUT_NETWORKS = "tests.processes.stand_in_server"


def _command(*flags: str, module: str = "posewire_server") -> list[str]:
    return [sys.executable, "-m", module, *flags]


@asynccontextmanager
async def _server(
    tmp_path: Path, *flags: str, module: str = "posewire_server"
) -> AsyncIterator[tuple[asyncio.subprocess.Process, str]]:
    """A server process that accepts calls, and its address; killed at the end if it is still running."""
    port_file = tmp_path / "port"
    process = await asyncio.create_subprocess_exec(
        *_command("--port", "0", "--port-file", str(port_file), *flags, module=module),
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=_ROOT,
    )
    try:
        async with asyncio.timeout(120):
            while not port_file.exists():
                assert process.returncode is None, (await process.communicate())[1].decode()
                await asyncio.sleep(0.02)
        yield process, f"127.0.0.1:{int(port_file.read_text())}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_the_log_is_json_whatever_strangers_send(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "ours")
    identity = authority.issue("server")
    flags = ("--tls-cert", str(identity.cert), "--tls-key", str(identity.key), "--log-format", "json")
    async with _server(tmp_path, *flags) as (process, address):
        host, port = address.split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await reader.read()  # hung up
        writer.close()
        credentials = grpc.ssl_channel_credentials(authority.cert.read_bytes())
        async with grpc.aio.secure_channel(address, credentials) as channel:
            with pytest.raises(grpc.aio.AioRpcError, match="gzip"):
                await channel.unary_unary("/any")(b"", compression=grpc.Compression.Gzip)
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
    assert json.loads(errors.splitlines()[-1])["message"] == "stopped"
    assert all(json.loads(line) for line in errors.splitlines())


async def test_calls_that_are_none_do_not_fill_the_log(tmp_path: Path) -> None:
    async with _server(tmp_path, "--log-format", "json", module=_WITHOUT_NETWORKS) as (process, address):
        for _ in range(20):
            async with raw_call(int(address.split(":")[1]), "/\xff") as call:
                await call.began.wait()
        process.send_signal(signal.SIGTERM)
        _, errors = await process.communicate()
    loggers = [json.loads(line)["logger"] for line in errors.splitlines()]
    assert sum(logger.startswith("grpc") for logger in loggers) < 10  # gRPC would write three for each


async def test_a_server_from_start_to_sigterm(tmp_path: Path) -> None:
    async with _server(tmp_path, "--log-format", "json") as (process, address), connected(address) as stub:
        client = TrackClient(stub)
        started = (await client.open(drop_policy=ALL, name="door")).started
        await client.send(0, jpeg(picture()), boxes=np.array([[10, 60, 40, 120]]))
        await client.read()
        assert client.answers.tracked.keys() == {0}
        process.send_signal(signal.SIGTERM)
        await client.read_until("drain")
        await client.finish()
        assert client.answers.summary is not None
        async with asyncio.timeout(20):
            _, errors = await process.communicate()
        assert process.returncode == 0
    assert not (tmp_path / "port").exists()
    lines = [json.loads(line) for line in errors.decode().splitlines()]
    assert [line["message"] for line in lines if line["logger"].startswith("posewire")] == [
        "serving",
        "stream opened",
        "told to stop",
        "draining",
        "stream closed",
        "stopped",
    ]
    assert started is not None
    of_stream = [line for line in lines if line.get("stream") == started.stream_id]
    assert [line["message"] for line in of_stream] == ["stream opened", "stream closed"]
    assert of_stream[0]["name"] == "door"
    assert of_stream[1]["tracked"] == 1


@pytest.mark.parametrize(
    "told",
    [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, None],
    ids=["SIGTERM", "SIGINT", "SIGHUP", "end of input"],
)
def test_a_server_that_is_not_ready_ends_at_once(told: signal.Signals | None, tmp_path: Path) -> None:
    """Its networks are still being loaded, on a thread that nothing can interrupt."""
    script = (
        "import pathlib, signal, sys, threading\n"
        "from posewire_server import process, server\n"
        "from posewire_server.config import ServerConfig\n"
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # the tests may run under nohup
        "def load(config):\n"
        "    print('loading', flush=True)\n"
        "    threading.Event().wait()\n"
        "server.load_networks = load\n"
        "process.run(ServerConfig(port=0, port_file=pathlib.Path(sys.argv[1]), exit_on_stdin_eof=True))"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "port")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == b"loading\n"
            if told is None:
                process.stdin.close()
            else:
                process.send_signal(told)
            assert process.wait(20) == 0
        finally:
            process.kill()
        assert process.stderr is not None
        assert process.stderr.read() == b""
    assert os.listdir(tmp_path) == []


async def test_a_private_server_ends_with_the_program_that_started_it(tmp_path: Path) -> None:
    async with _server(tmp_path, "--exit-on-stdin-eof", module=_WITHOUT_NETWORKS) as (process, _):
        assert process.stdin is not None
        process.stdin.close()
        async with asyncio.timeout(20):
            assert await process.wait() == 0


@pytest.fixture
def taken_port() -> Iterator[int]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield taken.getsockname()[1]


@pytest.mark.parametrize(
    ("flags", "status", "says"),
    [
        (["--port", "99999"], 2, "port is 99999; it must lie in 0..65535 (flag --port)"),
        (["--config", "nowhere.toml"], 2, "cannot read the configuration nowhere.toml"),
        (["--bundle", "colossal"], 1, "unknown bundle 'colossal'; known bundles: nano"),
    ],
)
def test_what_keeps_a_server_from_starting_is_said_in_one_line(flags: list[str], status: int, says: str) -> None:
    done = subprocess.run(_command("--log-level", "error", *flags), capture_output=True, text=True, timeout=60)
    assert done.returncode == status
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_port_file_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    port_file = tmp_path / "file" / "port"
    command = _command("--log-level", "error", "--port", "0", "--port-file", str(port_file), module=_WITHOUT_NETWORKS)
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=_ROOT)
    says = f"the server cannot start: cannot write the port to {port_file}: Not a directory; give another --port-file"
    assert (done.returncode, done.stderr) == (1, f"posewire: {says}\n")


def test_a_library_that_cannot_be_loaded_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise ImportError('libgomp.so.1: cannot open shared object file')")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(_command(), capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 1
    assert done.stderr.startswith("posewire: the server: a library cannot be loaded (libgomp.so.1: ")
    assert done.stderr.count("\n") == 1


def test_a_mistyped_bundle_does_not_wait_for_torch() -> None:
    command = [sys.executable, "-X", "importtime", *_command("--bundle", "colossal")[1:]]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert "unknown bundle 'colossal'" in done.stderr
    imported = {line.split("|")[-1].strip() for line in done.stderr.splitlines() if line.startswith("import time:")}
    assert "numpy" in imported
    assert "torch" not in imported


def test_a_port_that_is_taken(taken_port: int) -> None:
    command = _command("--log-level", "error", "--port", str(taken_port), module=_WITHOUT_NETWORKS)
    environment = {**os.environ, "GRPC_VERBOSITY": "NONE"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=environment, cwd=_ROOT)
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{taken_port}: Address already in use; choose another --port" in done.stderr
    assert "Traceback" not in done.stderr
