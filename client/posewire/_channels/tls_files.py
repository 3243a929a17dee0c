"""Certificates and keys from files that may be replaced while a client is open.

They are checked before use: gRPC accepts any, and then cannot connect.
"""

from __future__ import annotations

import re
import ssl
from functools import partial
from pathlib import Path
from typing import TypeAlias

import grpc

from posewire._channels.kept_files import KeptFiles
from posewire.connection import TlsSettings
from posewire.errors import InvalidSettings
from posewire.os_errors import reason_of
from posewire.small_files import read_small_file

__all__ = ["TlsFiles"]

# The authorities, the key and the certificate, as gRPC takes them.
_Contents: TypeAlias = tuple[bytes | None, bytes | None, bytes | None]

_PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----")


class TlsFiles:
    """The certificate files of a client."""

    def __init__(self, tls: TlsSettings) -> None:
        self._kept = KeptFiles(
            [Path(file) for file in (tls.ca, tls.cert, tls.key) if file is not None],
            partial(_read, tls),
            ignored="the renewed certificates are ignored, the old ones stay in use",
            read_again="the certificates were read again",
        )
        self._contents: _Contents | None = None
        self._credentials: grpc.ChannelCredentials | None = None

    def credentials(self) -> grpc.ChannelCredentials:
        """The gRPC credentials: the same object until the contents of a file change; see `KeptFiles`.

        Raises:
            InvalidSettings: a certificate or key cannot be read, or is invalid.
        """
        contents = self._kept.current()
        if self._credentials is None or contents is not self._contents:
            self._contents, self._credentials = contents, grpc.ssl_channel_credentials(*contents)
        return self._credentials


def _read(tls: TlsSettings) -> _Contents:
    """The authorities, the key and the certificate, as gRPC takes them."""
    ca, cert = (None if file is None else _certificates(file) for file in (tls.ca, tls.cert))
    key = None if tls.key is None else _private_key(tls.key)
    if tls.cert is not None and tls.key is not None:
        _check_pair(tls.cert, tls.key)
    return ca, key, cert


def _certificates(file: str | Path) -> bytes:
    pem = _contents(file)
    try:
        # The function takes ASCII text; only comments between the certificates may have other characters.
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(cadata=pem.decode("ascii", "ignore"))
    except (ssl.SSLError, ValueError) as error:
        raise InvalidSettings(
            f"{file} holds no certificate in PEM format, which begins with -----BEGIN CERTIFICATE-----, or a damaged"
            " one; give the right file, or convert it: openssl x509 -in FILE -out FILE.pem"
        ) from error
    return pem


def _private_key(file: str | Path) -> bytes:
    pem = _contents(file)
    if not _PRIVATE_KEY.search(pem):
        raise InvalidSettings(
            f"{file} holds no private key in PEM format, which begins with -----BEGIN PRIVATE KEY-----; give the right"
            " file, or convert it: openssl pkey -in FILE -out FILE.pem"
        )
    if b"ENCRYPTED" in pem:
        raise InvalidSettings(
            f"{file} is locked with a password; unlock it: openssl pkey -in FILE -out FILE.pem, which nobody else"
            " should be able to read"
        )
    return pem


def _check_pair(cert: str | Path, key: str | Path) -> None:
    """Check that the key is complete and belongs to the certificate. Pipes are not checked: they can be read once."""
    if not Path(cert).is_file() or not Path(key).is_file():
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("DEFAULT@SECLEVEL=0")  # the server decides how strong keys must be
    try:
        context.load_cert_chain(cert, key, password=lambda: "")
    except (OSError, ValueError) as error:  # or one was removed just now
        raise InvalidSettings(
            f"{key} is not the private key of the certificate {cert}, or is damaged, or in OpenSSH's format; give the"
            " files that were made together, or convert the key: ssh-keygen -p -m PEM -f FILE"
        ) from error


def _contents(file: str | Path) -> bytes:
    try:
        return read_small_file(Path(file))
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{file} cannot be read: {reason_of(error)}") from error
