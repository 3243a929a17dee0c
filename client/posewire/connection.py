"""How a client reaches its servers: encryption, and what happens when the connection is lost."""

from __future__ import annotations

import math
import numbers
import os
from dataclasses import dataclass, fields
from pathlib import Path

from posewire.errors import InvalidSettings

__all__ = ["ReconnectSettings", "Reconnected", "TlsSettings"]


@dataclass(frozen=True)
class ReconnectSettings:
    """How a stream that has lost its server is resumed.

        posewire.Client("a:50051", reconnect=posewire.ReconnectSettings(give_up_after_s=600))
        posewire.Client("a:50051", reconnect=None)  # a lost connection is an exception

    The first attempt is made at once. Then the client waits between attempts, twice as long each time, with random
    variation, so that the clients of a server do not all reconnect at the same moment.

    Attributes:
        initial_s: the first wait.
        max_s: the longest wait.
        jitter: share of the wait that is random, 0..1.
        attempt_timeout_s: longest time for one attempt.
        give_up_after_s: when no server has tracked anything for this long, the stream ends with an exception; may be
            infinite.

    Raises:
        InvalidSettings: a value is out of range; the message names the range.
    """

    initial_s: float = 0.1
    max_s: float = 5.0
    jitter: float = 0.3
    attempt_timeout_s: float = 10.0
    give_up_after_s: float = 120.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, numbers.Real):
                raise InvalidSettings(f"{field.name} is {value!r}; give a number")
        for name in ("initial_s", "max_s", "attempt_timeout_s"):
            value = getattr(self, name)
            if not (value > 0 and math.isfinite(value)):
                raise InvalidSettings(f"{name} is {value!r}; it must be above 0 and finite")
        if self.max_s < self.initial_s:
            raise InvalidSettings(f"max_s is {self.max_s!r}, below initial_s ({self.initial_s!r}); raise it")
        if not 0 <= self.jitter <= 1:
            raise InvalidSettings(f"jitter is {self.jitter!r}; it is a share in 0..1")
        if not self.give_up_after_s >= 0:
            raise InvalidSettings(f"give_up_after_s is {self.give_up_after_s!r}; it must be at least 0")


@dataclass(frozen=True)
class Reconnected:
    """A stream lost its server and was resumed. The first result after that carries this, and `on_reconnect` gets it.

    Attributes:
        address: of the server on which it continues.
        stream_id: of the new stream, for that server's logs.
        resumed: whether ids continue. If not, they start at 1 again, and `refusal` says why.
        refusal: why ids start anew; empty if they continue.
        cause: why the connection was lost.
        attempts: number of attempts until the stream was resumed.
        outage_s: time from the loss to the new stream.
        resent: frames that were sent a second time, because their answers were lost.
        lost: numbers of frames that were in flight and are reported as dropped, with the reason `disconnected`.
    """

    address: str
    stream_id: str
    resumed: bool
    refusal: str
    cause: str
    attempts: int
    outage_s: float
    resent: int
    lost: tuple[int, ...]

    def __str__(self) -> str:
        ids = "ids go on" if self.resumed else f"ids start anew: {self.refusal}"
        return f"reconnected to {self.address} after {self.outage_s:.1f} s, {ids}"


@dataclass(frozen=True)
class TlsSettings:
    """Encryption, and how client and server prove who they are.

        posewire.Client("gpu-host:50051", tls=posewire.TlsSettings(ca="ca.pem"), token=token)

    Attributes:
        ca: certificates (PEM) of the authorities that may sign the server's; None: those that gRPC knows.
        cert: this client's own certificate chain (PEM), for servers that require one (mutual TLS).
        key: its private key (PEM).
        server_name: the name in the server's certificate, if it differs from the address.

    Raises:
        InvalidSettings: a certificate without its key, or the other way round; contents instead of a file.
    """

    ca: str | Path | None = None
    cert: str | Path | None = None
    key: str | Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        for name in ("ca", "cert", "key"):
            file = getattr(self, name)
            # Contents are not repeated in the message, since they may be a private key.
            if isinstance(file, bytes) or (isinstance(file, str) and "-----BEGIN" in file):
                raise InvalidSettings(f"{name} is not a file but the contents of one; give the path of the PEM file")
            if file is not None and not isinstance(file, (str, os.PathLike)):
                raise InvalidSettings(f"{name} is {file!r}; give the path of a PEM file")
        if (self.cert is None) != (self.key is None):
            raise InvalidSettings("a client's certificate and its key belong together: give both cert and key")
