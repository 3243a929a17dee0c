"""What calls to a server need: its address, and credentials."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import os
import ssl
import struct
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import grpc
import pytest

from posewire import AsyncClient, ConnectionFailed, InvalidSettings, TlsSettings
from posewire._channels import connections

# Issued for tests, and expired.
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBczCCARmgAwIBAgIUabnDEuaiUumkf6aKwmPQXnmNXKowCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAeFw0yNjExMjgyMTA0MzRaFw0yNjExMjkyMTA0MzRa
MA8xDTALBgNVBAMMBHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAQ/bTCs
nHEj2VPfkshHmVIyFAVgm1n7wQwagGSQX5ecGHJUZU1uWcG6ULzCRS5NXAcQqCMY
KXJwAvkP2b4vPasVo1MwUTAdBgNVHQ4EFgQUQJjvjPBHV1ApcUFcz/PLQK5APbEw
HwYDVR0jBBgwFoAUQJjvjPBHV1ApcUFcz/PLQK5APbEwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNIADBFAiBHmxH3VNWusmmwHMNOcsekAWFLm9DkZJSiydZB
7fVxFwIhALKF/CwGpcRW6SocBj1d9CwBbMxpVxnQRZt85+MD96H+
-----END CERTIFICATE-----
"""
KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgly9wA+neGgATymYt
nY4/LfynYXFzrGvAqSeC2r3C/KWhRANCAAQ/bTCsnHEj2VPfkshHmVIyFAVgm1n7
wQwagGSQX5ecGHJUZU1uWcG6ULzCRS5NXAcQqCMYKXJwAvkP2b4vPasV
-----END PRIVATE KEY-----
"""
ANOTHER_KEY = """-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgycmpEqylPL7gsFCI
EAE1WXTUzNdbovurH4N7Iisx6d6hRANCAATbQl0fhoB+yJX9CDkxQzzL/5BDL3A7
GxBvn4LiVTy2eXV2s6gFvMaUGrhP72LHz8rWO9/BkV6NcL2kMw0CcrOF
-----END PRIVATE KEY-----
"""
OPENSSH_KEY = """-----BEGIN OPENSSH PRIVATE KEY-----
b3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAEbm9uZQAAAAAAAAABAAAAaAAAABNlY2RzYS
1zaGEyLW5pc3RwMjU2AAAACG5pc3RwMjU2AAAAQQQ/bTCsnHEj2VPfkshHmVIyFAVgm1n7
wQwagGSQX5ecGHJUZU1uWcG6ULzCRS5NXAcQqCMYKXJwAvkP2b4vPasVAAAAoFX8deZV/H
XmAAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTYAAABBBD9tMKyccSPZU9+S
yEeZUjIUBWCbWfvBDBqAZJBfl5wYclRlTW5ZwbpQvMJFLk1cBxCoIxgpcnAC+Q/Zvi89qx
UAAAAhAJcvcAPp3hoAE8pmLZ2OPy38p2Fxc6xrwKkngtq9wvylAAAAAAECAwQFBgc=
-----END OPENSSH PRIVATE KEY-----
"""


@pytest.mark.parametrize("variable", ["http_proxy", "https_proxy", "grpc_proxy"])
async def test_a_server_of_this_machine_is_reached_without_a_proxy(
    serve: Any, variable: str, unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await serve()
    for each in ("no_proxy", "no_grpc_proxy"):
        monkeypatch.delenv(each, raising=False)
    monkeypatch.setenv(variable, f"http://127.0.0.1:{unused_tcp_port}")
    async with AsyncClient(server.address, timeout_s=10) as client:
        assert (await client.server_info()).version == "9.9"


class NameServer(asyncio.DatagramProtocol):
    """Answers every question about a name with one address."""

    def __init__(self, address: str) -> None:
        self.address = address
        self._transport: Any = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        end = data.index(b"\0", 12) + 5
        is_of_version_4 = data[end - 4 : end - 2] == b"\0\1"
        answer = b"\xc0\x0c\0\1\0\1" + bytes(4) + b"\0\4" + ipaddress.ip_address(self.address).packed
        head = data[:2] + b"\x81\x80\0\1" + struct.pack("!H", is_of_version_4) + bytes(4)
        self._transport.sendto(head + data[12:end] + answer * is_of_version_4, addr)


async def test_a_name_is_looked_up_again_soon_once_its_server_is_gone(serve: Any) -> None:
    port = (await serve()).address.rpartition(":")[2]
    names = NameServer("127.0.0.9")  # nothing listens there
    transport, _ = await asyncio.get_running_loop().create_datagram_endpoint(lambda: names, local_addr=("127.0.0.1", 0))
    name = f"dns://127.0.0.1:{transport.get_extra_info('sockname')[1]}/posewire.test:{port}"
    client = AsyncClient(name, options=[("grpc.enable_http_proxy", 0)])
    async with client, asyncio.timeout(10):  # gRPC's own default is half a minute
        with pytest.raises(ConnectionFailed):
            await client.server_info()
        names.address = "127.0.0.1"
        while True:
            try:
                assert (await client.server_info()).version == "9.9"
                break
            except ConnectionFailed:
                await asyncio.sleep(0.02)
    transport.close()


async def test_options_of_the_program_win(monkeypatch: pytest.MonkeyPatch) -> None:
    """gRPC uses the first of two options with the same name."""
    given: list[tuple[str, Any]] = []
    monkeypatch.setattr(connections.grpc.aio, "insecure_channel", lambda _, options: given.extend(options))
    connections.Access().channel("host:1", None, [("grpc.keepalive_time_ms", 7)])
    assert [value for name, value in given if name == "grpc.keepalive_time_ms"] == [7, 20_000]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"address": None}, "the address is None, which is no text; give host:port"),  # a variable that is not set
        ({"address": ["a:1", 50051]}, "the address is 50051"),
        ({"address": "h\udcff:1"}, "which UTF-8 cannot hold; give host:port"),
        ({"address": "dns:h\udcff:1"}, "which UTF-8 cannot hold; give host:port"),
        ({"address": []}, "no address is given"),
        ({"token": b"secret"}, "the token is a bytes; give its text"),
        ({"timeout_s": None}, "timeout_s is None; it must be above 0"),
        ({"timeout_s": math.inf}, "timeout_s is inf"),
        ({"tls": True}, "tls is a bool; give TlsSettings"),
        ({"credentials": "key.pem"}, "credentials is a str; give ChannelCredentials"),
        ({"options": {"grpc.a": 1}}, "options are {'grpc.a': 1}; give pairs"),
        ({"options": 5}, "options are 5; give pairs"),
        ({"options": ["grpc.a"]}, r"options are \['grpc.a'\]; give pairs"),
    ],
)
def test_arguments_of_another_type_are_named(arguments: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        AsyncClient(**arguments)


@pytest.mark.parametrize("value", [None, 2**40])
async def test_a_value_that_no_option_can_have_is_told(value: Any) -> None:
    with pytest.raises(InvalidSettings, match="does not take these options"):
        await AsyncClient("host:1", options=[("grpc.a", value)]).server_info()


def test_settings_that_are_a_dict_are_none() -> None:
    settings: Any = {"similarity": "flow"}
    with pytest.raises(InvalidSettings, match="settings is a dict; give StreamSettings"):
        AsyncClient().track(settings=settings)


@pytest.mark.parametrize(
    ("given", "content", "words"),
    [
        ("ca", b"", "no certificate in PEM"),
        ("ca", b"<html>no such page</html>", "no certificate in PEM"),
        ("ca", ssl.PEM_cert_to_DER_cert(CERTIFICATE), "openssl x509"),  # the other format
        ("ca", CERTIFICATE[:200].encode(), "damaged"),
        ("cert", KEY.encode(), "no certificate in PEM"),  # the two exchanged
        ("key", CERTIFICATE.encode(), "no private key in PEM"),
        ("key", b"\x30\x77\x02\x01", "openssl pkey"),
        ("key", ANOTHER_KEY.encode(), "cert.pem, or is damaged"),
        ("key", OPENSSH_KEY.encode(), "OpenSSH's format"),
        pytest.param("key", KEY[:100].encode(), "is damaged", id="cut-off"),
        ("key", KEY.replace("MIGH", "MIGI").encode(), "is damaged"),
        ("key", KEY.replace("PRIVATE", "ENCRYPTED PRIVATE").encode(), "locked with a password"),
        ("key", KEY.replace("\n", "\nProc-Type: 4,ENCRYPTED\n", 1).encode(), "locked with a password"),
    ],
)
async def test_a_file_that_is_no_certificate_or_key_is_named(
    tmp_path: Path, given: str, content: bytes, words: str
) -> None:
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    for name, file in files.items():
        file.write_text(KEY if name == "key" else CERTIFICATE)
    files[given].write_bytes(content)
    with pytest.raises(InvalidSettings, match=words) as caught:
        await AsyncClient(tls=TlsSettings(**files)).__aenter__()
    assert str(files[given]) in str(caught.value)


@pytest.mark.parametrize(
    "arguments", [lambda file: {"token": file}, lambda file: {"tls": TlsSettings(ca=file)}], ids=["token", "ca"]
)
async def test_a_file_that_cannot_be_looked_at_is_named(
    arguments: Callable[[Path], dict[str, Any]], tmp_path: Path
) -> None:
    """For root, a name that is too long stands in for a file without permission."""
    with pytest.raises(InvalidSettings, match="aaa cannot be read: File name too long"):
        await AsyncClient(**arguments(tmp_path / ("a" * 300))).server_info()


@pytest.mark.parametrize(
    ("key", "says"),
    [
        (KEY, "^key is not a file but the contents of one; give the path of the PEM file$"),  # which are not repeated
        (KEY.encode(), "^key is not a file but the contents of one; give the path of the PEM file$"),
        (5, "^key is 5; give the path of a PEM file$"),
    ],
)
def test_certificates_and_keys_are_files(key: Any, says: str) -> None:
    with pytest.raises(InvalidSettings, match=says):
        TlsSettings(cert="cert.pem", key=key)


async def test_a_certificate_with_its_key_is_taken(tmp_path: Path) -> None:
    """Also from a pipe, which can be read only once."""
    cert, key, pipe = tmp_path / "cert.pem", tmp_path / "key.pem", tmp_path / "pipe"
    cert.write_text(CERTIFICATE)
    key.write_text(KEY)
    async with AsyncClient(tls=TlsSettings(cert=cert, key=key)):
        pass
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_text, args=(KEY,))
    writer.start()
    async with AsyncClient(tls=TlsSettings(cert=cert, key=pipe)) as client:
        writer.join()
        assert client._connections.to(client.address).stub  # not connected, and would read changed files again


async def test_a_channel_to_nowhere_is_replaced_as_often_as_its_certificates(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    files = {name: tmp_path / f"{name}.pem" for name in ("ca", "cert", "key")}
    addresses = ("127.0.0.1:1", "127.0.0.1:2")

    def channels() -> list[grpc.aio.Channel]:
        return [client._connections._channels[client._connections.to(each).address][0] for each in addresses]

    for name, file in files.items():
        file.write_text(KEY if name == "key" else CERTIFICATE)
    async with AsyncClient(addresses, tls=TlsSettings(**files)) as client:
        used = channels()
        for rotation in range(3):
            before = channels()
            files["ca"].write_text(CERTIFICATE)  # a new file with the same contents
            assert channels() == before
            files["ca"].write_text(CERTIFICATE + "#" * (rotation + 1))
            files["key"].write_text(ANOTHER_KEY)
            assert channels() == channels() == before
            assert caplog.text.count("key.pem is not the private key") == rotation + 1  # once each time
            files["key"].unlink()
            assert channels() == before
            files["key"].write_text(KEY)
            assert not set(channels()) & set(before)
            files["ca"].write_text(CERTIFICATE)
            assert len(set(channels())) == 2
        del before
        assert set(client._connections._unclosed) == {*channels(), *used}
    assert {each.get_state() for each in used} == {grpc.ChannelConnectivity.SHUTDOWN}


@pytest.mark.parametrize(
    "content",
    [
        CERTIFICATE,
        f"# Authority of Łódź\n{CERTIFICATE}\n# again\n{CERTIFICATE}",  # several, with remarks
    ],
)
async def test_certificates_in_pem_are_taken(tmp_path: Path, content: str) -> None:
    (tmp_path / "ca.pem").write_text(content)
    async with AsyncClient(tls=TlsSettings(ca=tmp_path / "ca.pem")):
        pass
