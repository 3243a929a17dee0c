"""TLS with certificates from files that may change while the server runs."""

from __future__ import annotations

import base64
import logging
import re
import ssl
from pathlib import Path
from typing import Any

import grpc

from posewire.file_changes import FileChanges
from posewire.small_files import read_small_file
from posewire_server.config import SecurityConfig
from posewire_server.configuration import ConfigError

__all__ = ["server_credentials"]

log = logging.getLogger(__name__)

# Types of keys that Python's TLS accepts but gRPC's cannot sign with -> their object identifiers in DER.
_UNUSABLE_KEYS = {
    "Ed25519": bytes.fromhex("06032b6570"),
    "Ed448": bytes.fromhex("06032b6571"),
    "P-521": bytes.fromhex("06052b81040023"),
}
_PRIVATE_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----(.*?)-----END", re.DOTALL)


def server_credentials(security: SecurityConfig) -> grpc.ServerCredentials:
    """TLS with the configured certificate; if `client_ca` is given, clients must present one too.

    The files are checked for changes with every new connection. A renewed certificate is used from then on; open
    connections continue. Files that do not match each other, for example during a renewal, are ignored.

    Raises:
        ConfigError: they cannot be read, or do not match each other.
    """
    if security.tls_cert is None or security.tls_key is None:
        raise ValueError("TLS needs a certificate and a key")
    files = _Files(security.tls_cert, security.tls_key, security.client_ca)
    needs_clients = security.client_ca is not None
    return grpc.dynamic_ssl_server_credentials(files.read(), files.renewed, require_client_authentication=needs_clients)


class _Files:
    """The certificate files."""

    def __init__(self, cert: Path, key: Path, client_ca: Path | None) -> None:
        self._cert, self._key, self._client_ca = cert, key, client_ca
        self._all = [file for file in (cert, key, client_ca) if file is not None]
        self._changes = FileChanges(self._all)

    def read(self) -> Any:
        """The certificates, checked.

        Raises:
            ConfigError: see `server_credentials`.
        """
        try:
            cert, key, *client_ca = (_contents(file) for file in self._all)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            # Without `password`, OpenSSL would ask for that of an encrypted key on the terminal.
            context.load_cert_chain(self._cert, self._key, password=lambda: b"")
            if self._client_ca is not None:
                context.load_verify_locations(self._client_ca)
        except ssl.SSLError as error:
            raise ConfigError(
                f"the certificates cannot be used ({error.reason or error}): {', '.join(map(str, self._all))}; each "
                "must be PEM, and the key must have no password and match the certificate"
            ) from error
        except OSError as error:
            raise ConfigError(f"cannot read {error.filename}: {error.strerror}") from error
        if kind := _unusable(key):
            raise ConfigError(
                f"the key {self._key} is of a type ({kind}) that gRPC does not support: no client could connect; use "
                "an ECDSA key on P-256 or P-384, or an RSA key"
            )
        return grpc.ssl_server_certificate_configuration([(key, cert)], client_ca[0] if client_ca else None)

    def renewed(self) -> Any:
        """The certificates if they have changed, else None. Called by gRPC on one of its threads."""
        if not self._changes.happened():
            return None
        try:
            certificates = self.read()
        except ConfigError as error:
            if self._changes.unread(str(error)):
                log.error("the renewed certificates are ignored, the old ones stay in use: %s", error)
            return None
        log.info("the certificates were read again")
        return certificates


def _contents(file: Path) -> bytes:
    try:
        return read_small_file(file)
    except ValueError as error:
        raise ConfigError(f"cannot read {file}: {error}") from error


def _unusable(key: bytes) -> str:
    """Which of `_UNUSABLE_KEYS` this PEM file holds; empty if none."""
    found = _PRIVATE_KEY.search(key)
    der = base64.b64decode(found[1]) if found else b""
    return next((kind for kind, identifier in _UNUSABLE_KEYS.items() if identifier in der), "")
