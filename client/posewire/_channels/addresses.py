"""Addresses of servers."""

from __future__ import annotations

import ipaddress
import os
import re

from posewire.errors import InvalidSettings

__all__ = ["DEFAULT_ADDRESS", "DEFAULT_PORT", "full_address", "is_loopback", "proxy_setting"]

DEFAULT_PORT = 50051
DEFAULT_ADDRESS = f"127.0.0.1:{DEFAULT_PORT}"

_SCHEME = re.compile(r"(unix|unix-abstract|vsock|dns|ipv4|ipv6|xds):")
_LOCAL_SCHEME = re.compile(r"(unix|unix-abstract|vsock):")
# In gRPC's order, which takes the first that is set.
_PROXY_SETTINGS = ("grpc_proxy", "https_proxy", "http_proxy")


def full_address(address: str) -> str:
    """The address with a port; addresses with a scheme are left to gRPC.

    Raises:
        InvalidSettings: it is no address.
    """
    if not isinstance(address, str):
        raise InvalidSettings(f"the address is {address!r}, which is no text; give host:port, e.g. {DEFAULT_ADDRESS}")
    if any("\ud800" <= each <= "\udfff" for each in address):  # as bytes of an argument that are not UTF-8
        raise InvalidSettings(f"the address is {address!r}, which UTF-8 cannot hold; give host:port")
    if _SCHEME.match(address):
        return address
    if "://" in address or not address.strip():
        raise InvalidSettings(f"the address {address!r} is not of the form host:port, e.g. {DEFAULT_ADDRESS}")
    if _is_ipv6(address):
        return f"[{address}]:{DEFAULT_PORT}"
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        return f"{address}:{DEFAULT_PORT}"
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise InvalidSettings(f"the address {address!r} has several colons; write IPv6 in brackets, e.g. [::1]:{port}")
    if not host or not (port.isascii() and port.isdecimal()) or not 0 < int(port) < 65536:
        raise InvalidSettings(
            f"the address {address!r} has no port in 1..65535 after its colon; e.g. {DEFAULT_ADDRESS}"
        )
    return address


def is_loopback(address: str) -> bool:
    """Whether a server at this address is certainly on this machine."""
    if _LOCAL_SCHEME.match(address):
        return True
    host = _SCHEME.sub("", address).rpartition("/")[2].rpartition(":")[0].strip("[]")  # dns://name-server/host:port
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:  # a name, which may resolve to anything
        return False


def proxy_setting(address: str) -> str:
    """Name of the variable of the environment with the proxy through which gRPC connects; empty if there is none.

    Whether `no_proxy` names the server is not considered.
    """
    return "" if is_loopback(address) else next((name for name in _PROXY_SETTINGS if os.environ.get(name)), "")


def _is_ipv6(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 6
    except ValueError:
        return False
