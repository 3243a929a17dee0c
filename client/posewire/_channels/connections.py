"""The servers of a client: their channels and credentials."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from weakref import WeakSet

import grpc
import grpc.aio

from posewire._channels.access_tokens import AccessToken, check_token
from posewire._channels.addresses import DEFAULT_ADDRESS, full_address, is_loopback
from posewire._channels.forks import check_process, note_use
from posewire._channels.status import error_from_status
from posewire._channels.tls_files import TlsFiles
from posewire.connection import TlsSettings
from posewire.errors import (
    ConnectionFailed,
    InvalidSettings,
    LimitExceeded,
    MisuseError,
    ServerFailed,
    StreamBroken,
    TimedOut,
)
from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceStub

if TYPE_CHECKING:
    from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceAsyncStub

__all__ = ["PASSING", "Access", "Connection", "Connections"]

Answer = TypeVar("Answer")

_log = logging.getLogger(__name__)

PASSING = (ConnectionFailed, TimedOut, ServerFailed, LimitExceeded, StreamBroken)
"""Failures that may not occur at another server, or later."""

# An unplugged cable is noticed within `time` + `timeout`. Servers allow exactly this rate, and pings of idle clients.
# The backoffs are short, since after a failure gRPC refuses to try again for a while; `Reconnection` does that here.
_CHANNEL_OPTIONS: tuple[tuple[str, Any], ...] = (
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),  # this one takes effect; its default is a minute
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # A name may lead to another server's address as soon as this one is gone; the default is half a minute.
    ("grpc.dns_min_time_between_resolutions_ms", 1_000),
)
# A proxy named in the environment cannot reach servers on this machine.
_NO_PROXY = ("grpc.enable_http_proxy", 0)


@dataclass(frozen=True)
class Access:
    """The credentials of a client.

    Attributes:
        tls: encryption; None: plain text, unless `credentials` are given.
        credentials: gRPC credentials, made by the program.
        token: bearer token, or the file that holds it; empty: none.
        insecure: whether a token may be sent unencrypted to another machine.

    Raises:
        InvalidSettings: both `tls` and `credentials` are given, or the token cannot be sent.
    """

    tls: TlsSettings | None = None
    credentials: grpc.ChannelCredentials | None = None
    token: str | Path = ""
    insecure: bool = False

    def __post_init__(self) -> None:
        if self.tls is not None and self.credentials is not None:
            raise InvalidSettings("give either tls or credentials: both say how the connection is encrypted")
        if self.token and not isinstance(self.token, (str, os.PathLike)):
            raise InvalidSettings(f"the token is a {type(self.token).__name__}; give its text, or the path of its file")
        if self.token and isinstance(self.token, str):
            check_token(self.token)

    def __repr__(self) -> str:
        return f"Access(tls={self.tls!r}, token={'***' if self.token else ''!r}, insecure={self.insecure})"

    @property
    def is_anonymous(self) -> bool:
        """Whether TLS is used without a client certificate, which a server may require."""
        return self.tls is not None and self.tls.cert is None

    def check(self, address: str) -> None:
        """Raise `InvalidSettings` if the token would be sent to `address` unencrypted."""
        encrypted = self.tls is not None or self.credentials is not None
        if self.token and not encrypted and not self.insecure and not is_loopback(address):
            raise InvalidSettings(
                f"the token would travel to {address} unencrypted, for everybody on the way to read; use TLS (tls=,"
                " --tls), or say that this is meant (insecure=True, --insecure)"
            )

    def channel(
        self, address: str, credentials: grpc.ChannelCredentials | None, options: Sequence[tuple[str, Any]]
    ) -> grpc.aio.Channel:
        """A new channel with these credentials, which are `self.credentials`, or those of the files of `tls`.

        Raises:
            InvalidSettings: an option has an impossible value.
        """
        options = [*options, *_CHANNEL_OPTIONS]  # gRPC uses the first of two options with the same name
        if is_loopback(address):
            options.append(_NO_PROXY)
        if self.tls is not None and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        try:
            if credentials is None:
                return grpc.aio.insecure_channel(address, options)
            return grpc.aio.secure_channel(address, credentials, options)
        except (TypeError, OverflowError, UnicodeError) as error:
            raise InvalidSettings(f"gRPC does not take these options of the channel: {error}") from error


@dataclass(frozen=True, eq=False)
class Connection:
    """What calls to one server need.

    Attributes:
        address: `host:port`.
        stub: makes calls, and keeps its channel open if the client has replaced it.
        token: sent with each call; empty: none.
        tokens: where it came from.
        is_anonymous: as in `Access`.
    """

    address: str
    stub: PoseTrackingServiceAsyncStub
    token: str
    tokens: AccessToken
    is_anonymous: bool = False

    @property
    def metadata(self) -> tuple[tuple[str, str], ...]:
        """Sent with each call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def has_newer_token(self) -> bool:
        """Whether the token's file holds another one by now."""
        return self.tokens.current() != self.token


class Connections:
    """Channels to the servers of a client, each opened when it is first needed.

    A channel that is not connected is replaced once its certificates have been; calls over the old one go on.

    Args:
        addresses: servers that can stand in for each other.
        access: the credentials for all of them.
        options: further options of the gRPC channels.

    Raises:
        InvalidSettings: an address is invalid, or the token must not be sent there.
    """

    def __init__(self, addresses: str | Sequence[str], access: Access, options: Sequence[tuple[str, Any]]) -> None:
        given = list(addresses) if isinstance(addresses, Iterable) and not isinstance(addresses, str) else [addresses]
        if not given:
            raise InvalidSettings(f"no address is given; give one of the form host:port, e.g. {DEFAULT_ADDRESS}")
        self.addresses = tuple(dict.fromkeys(map(full_address, given)))
        for address in self.addresses:
            access.check(address)
        self._access = access
        self._options = _checked_options(options)
        self._tokens = AccessToken(access.token)
        self._tls_files = None if access.tls is None else TlsFiles(access.tls)
        self._channels: dict[str, tuple[grpc.aio.Channel, grpc.ChannelCredentials | None]] = {}
        self._unclosed: WeakSet[grpc.aio.Channel] = WeakSet()  # also replaced ones, while a call uses them
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False
        self.preferred = self.addresses[0]
        """Where new calls go: the server that was reached last."""

    def __reduce__(self) -> NoReturn:
        raise MisuseError(
            "a client and its streams belong to one process, and cannot be pickled or copied; make a client in each"
            " process, and pass its address"
        )

    def to(self, address: str) -> Connection:
        """The connection to one of the servers.

        Raises:
            MisuseError: the channels were closed, belong to another event loop, or cannot be used in this process.
            InvalidSettings: a certificate, key or token cannot be read, or is invalid; or an option has an impossible
                value.
        """
        if self._closed:
            raise MisuseError("this client is closed; make another one")
        check_process()
        loop = asyncio.get_running_loop()
        if self._loop is not None and self._loop is not loop:
            raise MisuseError(
                "this client was first used in another event loop, to which it belongs; make one in each loop, or share"
                " a posewire.Client, which has a loop of its own"
            )
        channel, made_with = self._channels.get(address, (None, None))
        if channel is None or channel.get_state() is not grpc.ChannelConnectivity.READY:
            credentials = self._access.credentials if self._tls_files is None else self._tls_files.credentials()
            if channel is None or credentials is not made_with:
                channel = note_use(self._access.channel(address, credentials, self._options))
                self._channels[address] = channel, credentials
                self._unclosed.add(channel)
                self._loop = loop
        stub: PoseTrackingServiceAsyncStub = PoseTrackingServiceStub(channel)
        return Connection(address, stub, self._tokens.current(), self._tokens, self._access.is_anonymous)

    def after(self, address: str) -> str:
        """The address to try when `address` has failed."""
        return self.addresses[(self.addresses.index(address) + 1) % len(self.addresses)]

    def in_turn(self) -> tuple[str, ...]:
        """All servers, the preferred one first."""
        start = self.addresses.index(self.preferred)
        return self.addresses[start:] + self.addresses[:start]

    async def first_answer(self, ask: Callable[[Connection], Awaitable[Answer]], doing: str) -> Answer:
        """The answer of the first available server, which becomes the preferred one.

        Each server is asked once, and the next one only after a failure in `PASSING`.

        Args:
            ask: makes the call.
            doing: what is being done, for messages: `asking for the server's description`.

        Raises:
            CallError: a server refuses, or none is available; then the error of the last one.
            StreamBroken: likewise.
        """
        *others, last = self.in_turn()
        for address in others:
            try:
                return await self._answer(address, ask, doing)
            except PASSING as error:
                _log.warning("%s; trying another server", str(error).rpartition("; ")[0] or error)  # without the remedy
        return await self._answer(last, ask, doing)

    async def _answer(self, address: str, ask: Callable[[Connection], Awaitable[Answer]], doing: str) -> Answer:
        try:
            answer = await ask(self.to(address))
        except grpc.aio.AioRpcError as error:
            raise error_from_status(error, address, doing, is_anonymous=self._access.is_anonymous) from error
        if answer is None:  # gRPC could not parse it
            raise ServerFailed(
                f"{doing} at {address}: the answer cannot be read: it was damaged on its way, or the server is not"
                " posewire; try again, and check the address"
            )
        self.preferred = address
        return answer

    async def aclose(self) -> None:
        """Close the channels."""
        self._closed = True
        channels = list(self._unclosed)
        self._channels.clear()
        for channel in channels:
            await channel.close()


def _checked_options(options: Sequence[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    listed = isinstance(options, Iterable) and not isinstance(options, Mapping)
    pairs: tuple[Any, ...] = tuple(options) if listed else (options,)
    if not all(isinstance(pair, Sequence) and len(pair) == 2 and isinstance(pair[0], str) for pair in pairs):
        raise InvalidSettings(
            f"options are {options!r}; give pairs of a gRPC option's name and its value, such as"
            " [('grpc.max_receive_message_length', 2**24)]"
        )
    return pairs
