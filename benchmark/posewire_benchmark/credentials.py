"""A temporary certificate and tokens for the benchmark's own server."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from posewire_server.admission.tokens import TokenGrant, append_line, new_token
from posewire_server.config import SecurityConfig

__all__ = ["Credentials", "can_make_credentials", "make_credentials", "make_tokens"]

_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Credentials:
    """Credentials of a server and its client.

    Attributes:
        cert: the server's self-signed certificate, PEM.
        key: its private key.
        tokens: file with the token's hash.
        token: the client's token. Not for logs.
    """

    cert: Path
    key: Path
    tokens: Path
    token: str

    def __repr__(self) -> str:
        return f"Credentials({self.cert})"

    @property
    def of_server(self) -> SecurityConfig:
        """The server's settings."""
        return SecurityConfig(tls_cert=self.cert, tls_key=self.key, tokens=self.tokens)


def can_make_credentials() -> bool:
    """Whether the `openssl` command is installed."""
    return shutil.which("openssl") is not None


def make_credentials(folder: Path, host: str) -> Credentials:
    """Make a certificate for `host`, an IP address, and a token; all files are written to `folder`.

    Raises:
        RuntimeError: the `openssl` command fails.
    """
    cert, key, tokens = folder / "server.pem", folder / "server.key", folder / "tokens"
    command = ["openssl", "req", "-x509", "-nodes", "-days", "2", "-newkey", "ec"]
    command += ["-pkeyopt", "ec_paramgen_curve:P-256", "-subj", f"/CN={host}", "-addext", f"subjectAltName=IP:{host}"]
    command += ["-keyout", str(key), "-out", str(cert)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    if done.returncode:
        raise RuntimeError(f"openssl made no certificate: {done.stderr.strip()[-300:]}")
    (token,) = make_tokens(tokens, 1)
    return Credentials(cert, key, tokens, token)


def make_tokens(file: Path, count: int) -> list[str]:
    """Make `count` tokens, each for its own caller, and write their hashes to `file`."""
    made = [new_token(TokenGrant(f"benchmark-{number}")) for number in range(count)]
    for _, line in made:
        append_line(file, line)
    return [token for token, _ in made]
