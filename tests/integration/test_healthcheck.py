from __future__ import annotations

import asyncio
import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest
import typer

from posewire_server.config import SecurityConfig, ServerConfig
from posewire_server.healthcheck import UnhealthyError, ask, main
from posewire_server.observability.health import HEALTH_NAMES
from posewire_server.server import PoseServer
from tests.integration.certificates import Authority, Identity
from tests.server.stand_ins import networks


def _config(security: SecurityConfig | None = None, port: int = 0, host: str = "127.0.0.1") -> ServerConfig:
    return ServerConfig(host=host, port=port, security=security or SecurityConfig())


async def _ask(config: ServerConfig, service: str = "") -> None:
    await asyncio.to_thread(ask, config, service, 20.0)


@pytest.fixture
def identity(tmp_path: Path) -> Identity:
    return Authority(tmp_path, "authority").issue("server")


async def test_a_server_is_healthy_until_it_drains() -> None:
    server = await PoseServer.start(_config(), networks())
    config = _config(port=server.port)
    try:
        for service in ("", *HEALTH_NAMES.values()):
            await _ask(config, service)
        server._health.enter_graceful_shutdown()
        with pytest.raises(UnhealthyError, match="says NOT_SERVING"):
            await _ask(config)
    finally:
        await server.stop()
    with pytest.raises(UnhealthyError, match="gave no answer: UNAVAILABLE"):
        await _ask(config)


async def test_an_unknown_service_is_not_healthy() -> None:
    server = await PoseServer.start(_config(), networks())
    try:
        with pytest.raises(UnhealthyError, match="NOT_FOUND"):
            await _ask(_config(port=server.port), "teapot")
    finally:
        await server.stop()


@pytest.mark.parametrize("host", ["0.0.0.0", "localhost"])
async def test_hosts_that_are_no_address_to_call(host: str) -> None:
    config = _config(SecurityConfig(insecure=True), host=host)
    server = await PoseServer.start(config, networks())
    try:
        await _ask(_config(SecurityConfig(insecure=True), server.port, host))
    finally:
        await server.stop()


@pytest.mark.parametrize(
    "alternatives",
    [
        "URI:spiffe://cluster/gpu,DNS:gpu-host",  # of a service mesh
        "email:admin@example.org,DNS:gpu-host",
        "IP:::1",  # the library writes it in full
        "DNS:*.example.org",
    ],
)
async def test_names_that_a_certificate_may_have(alternatives: str, tmp_path: Path) -> None:
    identity = Authority(tmp_path, "authority").issue("server", alternatives)
    security = SecurityConfig(tls_cert=identity.cert, tls_key=identity.key)
    server = await PoseServer.start(_config(security), networks())
    try:
        await _ask(_config(security, server.port))
    finally:
        await server.stop()


async def test_a_certificate_without_a_name_to_connect_to_is_told(tmp_path: Path) -> None:
    identity = Authority(tmp_path, "authority").issue("server", "URI:spiffe://cluster/gpu")
    security = SecurityConfig(tls_cert=identity.cert, tls_key=identity.key)
    server = await PoseServer.start(_config(security), networks())
    try:
        with pytest.raises(UnhealthyError, match="no DNS name and no IP address in its subjectAltName"):
            await _ask(_config(security, server.port))
    finally:
        await server.stop()


@pytest.mark.parametrize("mutual", [False, True])
async def test_tls_without_knowing_the_authority(
    mutual: bool, identity: Identity, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    # Tokens do not matter: the health service needs none.
    (tmp_path / "tokens").write_text("door:" + "0" * 64 + "\n")
    security = SecurityConfig(
        tls_cert=identity.cert,
        tls_key=identity.key,
        client_ca=tmp_path / "authority.pem" if mutual else None,
        tokens=tmp_path / "tokens",
    )
    server = await PoseServer.start(_config(security), networks())
    try:
        for _ in range(3):
            await _ask(_config(security, server.port))
    finally:
        await server.stop()
    assert "handshake" not in capfd.readouterr().err.lower()  # in gRPC's own log, of failed connections


async def test_another_certificate_is_not_trusted(identity: Identity, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other").issue("server")
    server = await PoseServer.start(_config(SecurityConfig(tls_cert=other.cert, tls_key=other.key)), networks())
    expected = SecurityConfig(tls_cert=identity.cert, tls_key=identity.key)
    try:
        with pytest.raises(UnhealthyError, match="CERTIFICATE_VERIFY_FAILED"):
            await _ask(_config(expected, server.port))
    finally:
        await server.stop()


async def test_a_server_that_wants_another_certificate_is_told(identity: Identity, tmp_path: Path) -> None:
    tls = SecurityConfig(tls_cert=identity.cert, tls_key=identity.key)
    other = Authority(tmp_path, "other")
    server = await PoseServer.start(_config(dataclasses.replace(tls, client_ca=other.cert)), networks())
    try:
        for asked in (tls, dataclasses.replace(tls, client_ca=other.cert)):
            with pytest.raises(UnhealthyError, match=r"if it requires client certificates, set client_ca"):
                await _ask(_config(asked, server.port))
    finally:
        await server.stop()


def test_certificates_that_cannot_be_used_are_named(identity: Identity, tmp_path: Path) -> None:
    missing, locked, text = (tmp_path / name for name in ("missing.pem", "locked.key", "text.pem"))
    run = ["openssl", "ec", "-in", identity.key, "-aes128", "-passout", "pass:secret", "-out", locked]
    subprocess.run(run, check=True, capture_output=True, timeout=60)
    text.write_text("no certificate")
    for cert, key, message in (
        (missing, identity.key, rf"cannot read {missing}: No such file or directory$"),
        (identity.cert, missing, rf"cannot read {missing}: No such file or directory$"),
        (text, identity.key, rf"the certificate cannot be used \(.*\): {text}, "),
        (identity.cert, locked, rf"the certificate cannot be used \(.*\): .*, {locked}$"),  # asks for no password
    ):
        with pytest.raises(UnhealthyError, match=message):
            ask(_config(SecurityConfig(tls_cert=cert, tls_key=key, client_ca=identity.cert)))


async def test_the_program_takes_its_port_from_the_settings() -> None:
    server = await PoseServer.start(_config(), networks())
    settings = {"POSEWIRE_SERVER_PORT": str(server.port), "POSEWIRE_SERVER_HOST": "0.0.0.0"}
    try:
        healthy = await asyncio.to_thread(_program, settings)
    finally:
        await server.stop()
    assert (healthy.returncode, healthy.stdout) == (0, "SERVING\n"), healthy.stderr
    gone = await asyncio.to_thread(_program, settings)
    assert gone.returncode == 1
    assert "UNAVAILABLE" in gone.stderr


@pytest.mark.parametrize("timeout_s", [0.0, -1.0, float("nan"), float("inf")])
def test_a_timeout_that_is_none(timeout_s: float) -> None:
    with pytest.raises(typer.BadParameter, match=r"--timeout-s is .*; it must lie in 0.1..3600"):
        main(port=1, service="", timeout_s=timeout_s)


def _program(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "posewire_server.healthcheck"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


def test_it_does_not_import_torch() -> None:
    script = "import sys, posewire_server.healthcheck; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)
