"""The flags for encryption and credentials, of every command that has --server."""

from __future__ import annotations

import functools
import inspect
import os
import typing
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from posewire._channels.access_tokens import read_token
from posewire.cli.failures import expected_failures

if typing.TYPE_CHECKING:
    from posewire import AsyncClient, Client, TlsSettings
    from posewire._channels.connections import Connections

__all__ = ["TOKEN_VARIABLE", "ServerAccess", "access_flags_given", "access_given", "with_access_flags"]

TOKEN_VARIABLE = "POSEWIRE_TOKEN"

Command = TypeVar("Command", bound=Callable[..., None])

_PANEL = "Access"
_FLAGS: dict[str, Any] = {
    "tls": Annotated[
        bool, typer.Option("--tls", help="Encrypt the connection; implied by --ca and --cert.", rich_help_panel=_PANEL)
    ],
    "ca": Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Certificate authorities to verify the server by (PEM).", rich_help_panel=_PANEL
        ),
    ],
    "cert": Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Client certificate for mutual TLS (PEM).", rich_help_panel=_PANEL),
    ],
    "key": Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Private key of the client certificate (PEM).", rich_help_panel=_PANEL),
    ],
    "token_file": Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help=f"File with the access token (or set {TOKEN_VARIABLE}).", rich_help_panel=_PANEL
        ),
    ],
    "insecure": Annotated[
        bool, typer.Option("--insecure", help="Allow sending the token unencrypted.", rich_help_panel=_PANEL)
    ],
}
_DEFAULTS: dict[str, Any] = {"tls": False, "insecure": False}


@dataclass(frozen=True)
class ServerAccess:
    """How to reach a server.

    Attributes:
        addresses: of servers that can stand in for each other.
        tls: whether to encrypt.
        ca: certificate authorities that the server is verified by.
        cert: this client's certificate.
        key: its private key.
        token: bearer token, or the file that holds it.
        insecure: whether the token may be sent unencrypted.
        reconnects: whether lost streams are resumed.
    """

    addresses: tuple[str, ...] = ()
    tls: bool = False
    ca: Path | None = None
    cert: Path | None = None
    key: Path | None = None
    token: str | Path = ""
    insecure: bool = False
    reconnects: bool = True

    def __repr__(self) -> str:
        return f"ServerAccess({', '.join(self.addresses)})"  # without secrets

    def client(self, **options: Any) -> Client:
        """A synchronous client; `options` as for `Client`."""
        from posewire import Client

        return Client(self.addresses, **self._arguments(), **options)

    def async_client(self, **options: Any) -> AsyncClient:
        """An asynchronous client; `options` as for `AsyncClient`."""
        from posewire import AsyncClient

        return AsyncClient(self.addresses, **self._arguments(), **options)

    def connections(self, options: Sequence[tuple[str, Any]] = ()) -> Connections:
        """The connections of such a client, for calls that the SDK does not make; `options`: gRPC channel options."""
        from posewire._channels.connections import Access, Connections

        access = Access(tls=self._tls_settings(), token=self.token, insecure=self.insecure)
        return Connections(self.addresses, access, options)

    def _arguments(self) -> dict[str, Any]:
        arguments = {"tls": self._tls_settings(), "token": self.token, "insecure": self.insecure}
        return arguments if self.reconnects else arguments | {"reconnect": None}

    def _tls_settings(self) -> TlsSettings | None:
        from posewire import TlsSettings

        encrypted = self.tls or any((self.ca, self.cert, self.key))
        return TlsSettings(self.ca, self.cert, self.key) if encrypted else None


_given: ContextVar[ServerAccess] = ContextVar("access_given")


def access_given(addresses: str) -> ServerAccess:
    """How to reach servers according to the flags of the running command.

    Args:
        addresses: `HOST:PORT`, or several, separated by commas.
    """
    access = _given.get(ServerAccess())
    token = access.token or os.environ.get(TOKEN_VARIABLE, "").strip()
    named = tuple(address.strip() for address in addresses.split(","))
    return replace(access, addresses=named, token=token)


def access_flags_given() -> tuple[str, ...]:
    """The names of the flags that the running command was given, `token_file` for `--token-file`."""
    access = _given.get(ServerAccess())
    values = {name: getattr(access, name) for name in _FLAGS if name != "token_file"} | {"token_file": access.token}
    return tuple(name for name in _FLAGS if values[name])


def with_access_flags(command: Command) -> Command:
    """Add the flags to a command; while it runs, `access_given` returns their values."""

    @functools.wraps(command)
    def with_access(**arguments: Any) -> None:
        flags = {name: arguments.pop(name) for name in _FLAGS}
        with expected_failures():
            token = _token_in(flags.pop("token_file"))
            before = _given.set(ServerAccess(token=token, **flags))
        try:
            command(**arguments)
        finally:
            _given.reset(before)

    signature, kinds = inspect.signature(command), typing.get_type_hints(command, include_extras=True)
    own = [parameter.replace(annotation=kinds[name]) for name, parameter in signature.parameters.items()]
    extra = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=_DEFAULTS.get(name), annotation=kind)
        for name, kind in _FLAGS.items()
    ]
    with_access.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*own, *extra]
    )
    with_access.__annotations__ = kinds | _FLAGS
    return typing.cast(Command, with_access)


def _token_in(file: Path | None) -> str | Path:
    """The file, which the client reads again when it changes; the token itself if that is not possible, as in a pipe.

    Raises:
        InvalidSettings: the file cannot be read, or holds no token.
    """
    if file is None:
        return ""
    token = read_token(file)
    return file if file.is_file() else token
