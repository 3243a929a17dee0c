from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from posewire_server.admission.tls import server_credentials
from posewire_server.config import SecurityConfig
from posewire_server.configuration import ConfigError


def _security(folder: Path, algorithm: str) -> SecurityConfig:
    cert, key = folder / "cert.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", *algorithm.split(), "-nodes", "-subj", "/CN=gpu-host"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True, timeout=60)
    return SecurityConfig(tls_cert=cert, tls_key=key)


@pytest.mark.parametrize("algorithm", ["ed25519", "ed448", "ec -pkeyopt ec_paramgen_curve:P-521"])
def test_keys_that_grpc_cannot_use_are_refused(algorithm: str, tmp_path: Path) -> None:
    """A server with one would start, and every handshake with it would fail."""
    with pytest.raises(ConfigError, match=r"key\.pem is of a type .* an ECDSA key on P-256 or P-384, or an RSA key"):
        server_credentials(_security(tmp_path, algorithm))


@pytest.mark.parametrize(
    "algorithm", ["rsa:2048", "ec -pkeyopt ec_paramgen_curve:P-256", "ec -pkeyopt ec_paramgen_curve:P-384"]
)
def test_other_keys_are_used(algorithm: str, tmp_path: Path) -> None:
    server_credentials(_security(tmp_path, algorithm))
