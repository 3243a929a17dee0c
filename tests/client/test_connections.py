"""What calls to a server need: its address, and what it is shown."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Any

import pytest

from posewire import AsyncClient, InvalidSettings, TlsSettings

# Issued for tests, and out of date.
CERTIFICATE = """-----BEGIN CERTIFICATE-----
MIIBczCCARmgAwIBAgIUVoF46HXbhVYYjRotkmJKT89OawIwCgYIKoZIzj0EAwIw
DzENMAsGA1UEAwwEdGVzdDAeFw0yNjExMjgyMDA1NTVaFw0yNjExMjkyMDA1NTVa
MA8xDTALBgNVBAMMBHRlc3QwWTATBgcqhkjOPQIBBggqhkjOPQMBBwNCAAR5IhuD
KhKAlSFpFvEIZQ47Dozz7QfmU7sUgLWHaa9mHkyfakTQHmhWo9QvOG9N3jQRePLZ
Jzp1wn8qdv4fPRm9o1MwUTAdBgNVHQ4EFgQUbEunjSB4+WKjUwy5jctlryCR/SIw
HwYDVR0jBBgwFoAUbEunjSB4+WKjUwy5jctlryCR/SIwDwYDVR0TAQH/BAUwAwEB
/zAKBggqhkjOPQQDAgNIADBFAiEA4MQMILESHNYdcMGpJ7W+M8g1QBTo046zOEEA
NB99760CICc3zDADJbpN8Kp2xnIPXPAp29R4Zi49e36FEwQuibyK
-----END CERTIFICATE-----
"""
KEY = "-----BEGIN PRIVATE KEY-----\nMC4=\n-----END PRIVATE KEY-----\n"


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
