"""Check the health of the server on this machine, or in this container: `python -m posewire_server.healthcheck`.

It reads the same settings as the server, for the port and the certificates; it cannot know the server's flags. The exit
status is 0 if the server is SERVING. Importing this is cheap: no torch.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
import sys
from pathlib import Path
from typing import Annotated, Any

import grpc
import typer
from grpc_health.v1 import health_pb2, health_pb2_grpc

from posewire.os_errors import reason_of
from posewire_server.config import SecurityConfig, ServerConfig
from posewire_server.configuration import ConfigError, load_config
from posewire_server.ranges import check_range

__all__ = ["UnhealthyError", "ask", "main"]

_STATUS = health_pb2.HealthCheckResponse.ServingStatus
_OPTIONS = [("grpc.enable_http_proxy", 0)]  # ask this machine directly, even if the environment names a proxy


class UnhealthyError(Exception):
    """The server is not SERVING; the message gives its status, or why it could not be asked."""


def ask(config: ServerConfig, service: str = "", timeout_s: float = 5.0) -> None:
    """Ask the standard health service.

    With TLS, the server is trusted if it presents exactly the certificate that the settings name, whatever its name and
    issuer, since it runs on this machine. If clients need a certificate, the same one is presented.

    Args:
        config: settings of the server.
        service: empty for the server as a whole; or a network: detector, flow, pose.
        timeout_s: for connecting and for the answer.

    Raises:
        UnhealthyError: the server is not SERVING, or could not be asked.
    """
    address = f"{_reachable(config.host)}:{config.port}"
    try:
        with _channel(address, config.security, timeout_s) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=timeout_s)
    except grpc.RpcError as error:
        if error.code() is grpc.StatusCode.NOT_FOUND:
            raise UnhealthyError(
                f"{address} has no network {service!r} (NOT_FOUND); ask for detector, flow or pose"
            ) from error
        raise UnhealthyError(f"{address} gave no answer: {error.code().name}: {error.details()}") from error
    except OSError as error:
        raise UnhealthyError(f"{address} cannot be reached: {reason_of(error)}") from error
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise UnhealthyError(f"{address} says {_STATUS.Name(answer.status)}")


def _reachable(host: str) -> str:
    """The address to connect to, for a server that listens on `host`."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "127.0.0.1" if address.version == 4 else "[::1]"
    return host if address.version == 4 else f"[{host}]"


def _channel(address: str, security: SecurityConfig, timeout_s: float) -> grpc.Channel:
    if security.tls_cert is None or security.tls_key is None:
        return grpc.insecure_channel(address, _OPTIONS)
    shown = (security.tls_key, security.tls_cert) if security.client_ca is not None else ()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # trust the certificate itself, without its issuer
    context.set_alpn_protocols(["h2"])
    try:
        trusted, *key_and_chain = (file.read_bytes() for file in (security.tls_cert, *shown))
        context.load_verify_locations(security.tls_cert)
        if shown:
            # Without `password`, OpenSSL would ask for that of an encrypted key on the terminal.
            context.load_cert_chain(security.tls_cert, security.tls_key, password=lambda: b"")
    except ssl.SSLError as error:
        files = ", ".join(map(str, dict.fromkeys((security.tls_cert, *shown))))
        raise UnhealthyError(f"the certificate cannot be used ({error.reason or error}): {files}") from error
    except OSError as error:
        raise UnhealthyError(f"cannot read {error.filename}: {error.strerror}") from error
    name = _name_in_certificate(address, context, timeout_s)
    return grpc.secure_channel(
        address,
        grpc.ssl_channel_credentials(trusted, *key_and_chain),
        options=[*_OPTIONS, ("grpc.ssl_target_name_override", name)],
    )


def _name_in_certificate(address: str, context: ssl.SSLContext, timeout_s: float) -> str:
    """A name in the server's certificate. Python's `ssl` reads certificates only from a connection.

    The connection looks like a client's to the server, so that nothing is logged.

    Args:
        address: of the server.
        context: what the server must present, and what to present to it.
        timeout_s: for connecting, and for each wait.

    Raises:
        OSError: no connection, or the server presents another certificate (for example during a renewal).
    """
    host, _, port = address.rpartition(":")
    with (
        socket.create_connection((host.strip("[]"), int(port)), timeout_s) as plain,
        context.wrap_socket(plain) as encrypted,
    ):
        # The server speaks first, once the handshake is done; it logs an earlier hang-up as an error.
        if not encrypted.recv(1):
            raise OSError(
                "it ends the handshake; if it requires client certificates, set client_ca here too, and let those "
                "authorities sign the server's own certificate, which this check presents"
            )
        names: Any = (encrypted.getpeercert() or {}).get("subjectAltName", ())
    for kind, name in names:  # there may also be URIs and others, which clients do not connect to
        if kind == "DNS":
            return str(name).replace("*", "any")
        if kind == "IP Address":
            return str(ipaddress.ip_address(name.strip()))
    raise OSError("the certificate has no DNS name and no IP address in its subjectAltName; clients need one")


def main(
    config: Annotated[
        Path | None, typer.Option(help="TOML file with the server's settings.", envvar="POSEWIRE_CONFIG")
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port of the server.")] = None,
    service: Annotated[
        str, typer.Option(help="Network to ask for: detector, flow or pose (default: the server).")
    ] = "",
    timeout_s: Annotated[float, typer.Option(help="Maximum seconds for each wait.")] = 5.0,
) -> None:
    """Ask the server on this machine for its health; exit status 0 if it is SERVING."""
    # Whether `insecure` is needed is for the server to check: it may have been given as a flag.
    flags = {"port": port, "security.insecure": True}
    try:
        check_range("--timeout-s", timeout_s, 0.1, 3600)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    try:
        ask(load_config(file=config, environment=os.environ, flags=flags), service, timeout_s)
    except (ConfigError, UnhealthyError) as error:
        print(f"posewire: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print("SERVING")


if __name__ == "__main__":
    typer.run(main)
