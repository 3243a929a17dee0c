"""Certificates and keys from files that may be replaced while a client is open.

They are checked before use: gRPC accepts any, and then cannot connect.
"""

from __future__ import annotations

import logging
import re
import ssl
from pathlib import Path

import grpc

from posewire.connection import TlsSettings
from posewire.errors import InvalidSettings
from posewire.file_changes import FileChanges
from posewire.os_errors import reason_of
from posewire.small_files import read_small_file

__all__ = ["TlsFiles"]

_log = logging.getLogger(__name__)

_PRIVATE_KEY = re.compile(rb"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----")


class TlsFiles:
    """The certificate files of a client."""

    def __init__(self, tls: TlsSettings) -> None:
        self._tls = tls
        self._contents: tuple[bytes | None, ...] = ()
        self._credentials: grpc.ChannelCredentials | None = None
        self._changes = FileChanges(())

    def credentials(self) -> grpc.ChannelCredentials:
        """The gRPC credentials: the same object until the contents of a file change.

        Files that cannot be used, for example during a renewal, are ignored if there were usable ones before.

        Raises:
            InvalidSettings: a certificate or key cannot be read, or is invalid.
        """
        if self._credentials is None:
            files = [Path(file) for file in (self._tls.ca, self._tls.cert, self._tls.key) if file is not None]
            # A pipe can be read only once.
            self._changes = FileChanges(files if all(file.is_file() for file in files) else ())
            self._contents = _read(self._tls)
            self._credentials = grpc.ssl_channel_credentials(*self._contents)
        elif self._changes.happened():
            try:
                contents = _read(self._tls)
            except InvalidSettings as error:
                if self._changes.unread(str(error)):
                    # Not the error itself: a handler that keeps it would keep replaced channels open.
                    _log.warning("the renewed certificates are ignored, the old ones stay in use: %s", str(error))
            else:
                if contents != self._contents:
                    self._contents, self._credentials = contents, grpc.ssl_channel_credentials(*contents)
                    _log.info("the certificates were read again")
        return self._credentials


def _read(tls: TlsSettings) -> tuple[bytes | None, bytes | None, bytes | None]:
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
