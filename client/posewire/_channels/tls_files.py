"""Certificates and keys, checked before use: gRPC accepts any, and then cannot connect."""

from __future__ import annotations

import re
import ssl
from pathlib import Path

import grpc

from posewire.connection import TlsSettings
from posewire.errors import InvalidSettings
from posewire.os_errors import reason_of
from posewire.small_files import read_small_file

__all__ = ["channel_credentials"]

_PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----")


def channel_credentials(tls: TlsSettings) -> grpc.ChannelCredentials:
    """The gRPC credentials.

    Raises:
        InvalidSettings: a certificate or key cannot be read, or is invalid.
    """
    ca, cert = (None if file is None else _certificates(file) for file in (tls.ca, tls.cert))
    key = None if tls.key is None else _private_key(tls.key)
    if tls.cert is not None and tls.key is not None:
        _check_pair(tls.cert, tls.key)
    return grpc.ssl_channel_credentials(ca, key, cert)


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
    except (ssl.SSLError, ValueError) as error:
        raise InvalidSettings(
            f"{key} is not the private key of the certificate {cert}, or is damaged, or in OpenSSH's format; give the"
            " files that were made together, or convert the key: ssh-keygen -p -m PEM -f FILE"
        ) from error


def _contents(file: str | Path) -> bytes:
    try:
        return read_small_file(Path(file))
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"{file} cannot be read: {reason_of(error)}") from error
