"""The SDK and the command line with servers that require encryption, certificates and tokens."""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import grpc
import pytest

import posewire
from posewire import AsyncClient, ReconnectSettings, TlsSettings
from posewire._channels.connections import Access
from posewire_server.admission.tokens import TokenGrant, append_line, new_token
from posewire_server.config import LimitsConfig, SecurityConfig, ServerConfig
from posewire_server.server import PoseServer, running_server
from tests.integration.certificates import Authority, Identity
from tests.integration.service_calls import server_config
from tests.server.stand_ins import networks, picture


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def identity(authority: Authority) -> Identity:
    return authority.issue("server")


async def tracked(client: AsyncClient) -> int:
    async with client.track([picture(step) for step in range(3)]) as stream:
        return len([result async for result in stream if result.tracked])


async def test_tls(authority: Authority, identity: Identity) -> None:
    security, trusting = SecurityConfig(tls_cert=identity.cert, tls_key=identity.key), TlsSettings(ca=authority.cert)
    config = dataclasses.replace(server_config(security=security), host="0.0.0.0")
    async with running_server(config, networks()) as listening:
        address = listening.replace("0.0.0.0", "127.0.0.1")
        async with AsyncClient(address, tls=trusting) as client:
            assert await tracked(client) == 3
        # It trusts no authority that has signed the server's certificate.
        async with AsyncClient(address, tls=TlsSettings(), timeout_s=5) as distrustful:
            with pytest.raises(posewire.ConnectionFailed, match=r"\); give the authority that signed .* --ca\)$"):
                await distrustful.server_info()
        async with AsyncClient(address.replace("127.0.0.1", "127.0.0.2"), tls=trusting, timeout_s=5) as elsewhere:
            with pytest.raises(posewire.ConnectionFailed, match=r"\); connect to a name .* server's certificate$"):
                await elsewhere.server_info()
        async with AsyncClient(address, timeout_s=5) as plain:
            with pytest.raises(posewire.ConnectionFailed, match="whether the server uses TLS"):
                await plain.server_info()


async def test_a_certificate_that_has_expired_may_be_a_wrong_clock(authority: Authority) -> None:
    old = authority.issue("old", days=-1)
    security = SecurityConfig(tls_cert=old.cert, tls_key=old.key)
    async with (
        running_server(server_config(security=security), networks()) as address,
        AsyncClient(address, tls=TlsSettings(ca=authority.cert), timeout_s=5) as client,
    ):
        with pytest.raises(posewire.ConnectionFailed, match=r"\); renew .* the clock of this machine if it is wrong$"):
            await client.server_info()


async def test_mutual_tls(authority: Authority, identity: Identity) -> None:
    security = SecurityConfig(tls_cert=identity.cert, tls_key=identity.key, client_ca=authority.cert)
    own = authority.issue("camera")
    async with running_server(server_config(security=security), networks()) as address:
        tls = TlsSettings(ca=authority.cert, cert=own.cert, key=own.key)
        async with AsyncClient(address, tls=tls) as client:
            assert await tracked(client) == 3
        async with AsyncClient(address, tls=TlsSettings(ca=authority.cert), timeout_s=5) as nobody:
            with pytest.raises(posewire.ConnectionFailed, match=r"wants this client's certificate .*--cert, --key"):
                await nobody.server_info()
        async with AsyncClient(address, tls=TlsSettings(ca=authority.cert), timeout_s=5, reconnect=None) as nobody:
            with pytest.raises(posewire.ConnectionFailed, match="wants this client's certificate"):
                await tracked(nobody)
    async with AsyncClient(address, tls=tls, timeout_s=5) as late:  # a missing client certificate is not the cause
        with pytest.raises(posewire.ConnectionFailed, match=r"whether the server uses TLS$"):
            await late.server_info()
    async with AsyncClient(address, tls=TlsSettings(ca=authority.cert), timeout_s=5) as late:  # nothing listens there
        with pytest.raises(posewire.ConnectionFailed, match=r"whether the server uses TLS$"):
            await late.server_info()


class Installed:
    """The files of a client, which change."""

    def __init__(self, folder: Path) -> None:
        self.ca, self.cert, self.key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"

    def install(self, authority: Authority, identity: Identity) -> None:
        for file, source in ((self.ca, authority.cert), (self.cert, identity.cert), (self.key, identity.key)):
            file.write_bytes(source.read_bytes())

    @property
    def tls(self) -> TlsSettings:
        return TlsSettings(ca=self.ca, cert=self.cert, key=self.key)


def mutual(authority: Authority, identity: Identity, port: int = 0) -> ServerConfig:
    security = SecurityConfig(tls_cert=identity.cert, tls_key=identity.key, client_ca=authority.cert)
    return dataclasses.replace(server_config(security=security), port=port)


async def test_lost_connections_are_made_again_with_renewed_certificates(
    tmp_path: Path, authority: Authority, identity: Identity
) -> None:
    installed, strangers = Installed(tmp_path), Authority(tmp_path, "strangers")
    installed.install(authority, identity)
    other = strangers.issue("server")
    reconnect = ReconnectSettings(initial_s=0.02, max_s=0.1, give_up_after_s=5)
    first = await PoseServer.start(mutual(authority, identity), networks())
    async with (
        AsyncClient(first.address, tls=installed.tls, reconnect=reconnect) as client,
        AsyncClient(first.address, tls=installed.tls) as idle,
    ):
        assert (await idle.server_info()).version
        async with client.track() as stream:
            await stream.send(picture())
            assert (await anext(stream)).tracked
            installed.install(strangers, other)
            await first.stop()
            async with running_server(mutual(strangers, other, first.port), networks()):
                await stream.send(picture(1))
                assert (await anext(stream)).reconnected
                assert (await idle.server_info()).version


async def test_a_stream_over_a_replaced_channel_goes_on(
    tmp_path: Path, authority: Authority, identity: Identity, caplog: pytest.LogCaptureFixture
) -> None:
    installed, strangers = Installed(tmp_path), Authority(tmp_path, "strangers")
    installed.install(authority, identity)
    other = strangers.issue("server")
    first = await PoseServer.start(mutual(authority, identity), networks())
    async with AsyncClient(first.address, tls=installed.tls, timeout_s=10) as client:
        async with client.track() as stream:
            await stream.send(picture())
            assert (await anext(stream)).tracked
            stopping = asyncio.create_task(first._server.stop(30))  # takes no new calls
            (channel,) = client._connections._unclosed
            await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            del channel
            installed.install(strangers, other)
            installed.key.write_bytes(identity.key.read_bytes())  # the last file is still to come
            async with running_server(mutual(strangers, other, first.port), networks()):
                with pytest.raises(posewire.ConnectionFailed):
                    await client.server_info()
                assert "the renewed certificates are ignored" in caplog.text
                installed.install(strangers, other)
                assert (await client.server_info()).version
                assert len(client._connections._unclosed) == 2
                await stream.send(picture(1))
                assert (await anext(stream)).tracked
                await stream.finish()
                assert [result async for result in stream] == []
                assert stream.reconnects == 0
        gc.collect()  # what is over may be part of reference cycles
        assert len(client._connections._unclosed) == 1
    await stopping
    await first.stop()


def grant(file: Path) -> str:
    token, line = new_token(TokenGrant(name="camera"))
    append_line(file, line)
    return token


async def test_tokens_go_with_every_call(tmp_path: Path) -> None:
    file = tmp_path / "tokens"
    token = grant(file)
    async with running_server(server_config(security=SecurityConfig(tokens=file)), networks()) as address:
        async with AsyncClient(address, token=token) as client:
            assert (await client.server_info()).version
            assert len((await client.estimate_poses(picture())).people) == 2
            assert await tracked(client) == 3
        for wrong in ("", "guessed"):
            async with AsyncClient(address, token=wrong) as client:
                with pytest.raises(posewire.AccessDenied):
                    await client.server_info()
                with pytest.raises(posewire.AccessDenied):
                    await tracked(client)


async def test_a_token_is_replaced_while_a_stream_is_open(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    file, own = tmp_path / "tokens", tmp_path / "token"
    own.write_text(grant(file) + "\n")
    config = server_config(security=SecurityConfig(tokens=file), limits=LimitsConfig(max_stall_s=0.1))
    async with running_server(config, networks()) as address, AsyncClient(address, token=own) as client:
        async with client.track() as stream:
            await stream.send(picture())
            assert (await anext(stream)).tracked
            own.write_text("")
            assert (await client.server_info()).version
            assert f"the new token is ignored, the old one stays in use: the token file {own} is empty" in caplog.text
            file.unlink()
            own.write_text(grant(file))
            os.utime(file, (0, 0))  # it was written long ago, and is complete
            await stream.send(picture(1))
            while not (result := await anext(stream)).reconnected:  # answered before the old token was missed
                await stream.send(picture(1))
            assert result.reconnected.resumed
        assert (await client.server_info()).version
        file.write_text("")
        os.utime(file, (0, 0))
        with pytest.raises(posewire.AccessDenied):
            await client.server_info()


async def test_a_token_that_cannot_be_read_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(posewire.InvalidSettings, match=r"the token file .*nowhere cannot be read"):
        await AsyncClient(token=tmp_path / "nowhere").__aenter__()
    (tmp_path / "words").write_text("not a token")
    with pytest.raises(posewire.InvalidSettings, match=r"the token in .*words has blanks"):
        await AsyncClient(token=tmp_path / "words").__aenter__()


async def test_the_command_line_has_flags_for_it(tmp_path: Path, authority: Authority, identity: Identity) -> None:
    file, token_file = tmp_path / "tokens", tmp_path / "token"
    token_file.write_text(grant(file) + "\n")
    security = SecurityConfig(tls_cert=identity.cert, tls_key=identity.key, tokens=file)

    def info(address: str, *flags: Any) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "posewire", "info", "--server", address, *map(str, flags)]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    async with running_server(server_config(security=security), networks()) as address:
        good = await asyncio.to_thread(info, address, "--ca", authority.cert, "--token-file", token_file)
        without = await asyncio.to_thread(info, address, "--ca", authority.cert)
        distrustful = await asyncio.to_thread(info, address, "--tls", "--token-file", token_file)
    assert good.returncode == 0, good.stderr
    assert "stand-in" in good.stdout
    assert without.returncode == 1
    assert "--token-file" in without.stderr
    assert distrustful.returncode == 1
    (line,) = distrustful.stderr.splitlines()  # without gRPC's own line, which would follow
    assert "CERTIFICATE_VERIFY_FAILED" in line


@pytest.mark.parametrize(
    ("address", "access", "words"),
    [
        ("gpu-host:50051", {"token": "t"}, "unencrypted"),  # a name may resolve to anything
        ("dns://127.0.0.1:53/gpu-host", {"token": "t"}, "unencrypted"),  # the name server is here, not the server
        ("192.168.0.7", {"token": "t"}, "unencrypted"),
        ("dns:gpu-host:1", {"token": "t"}, "unencrypted"),
        ("dns:///gpu-host:1", {"token": "t"}, "unencrypted"),
        ("dns://127.0.0.1/gpu-host:1", {"token": "t"}, "unencrypted"),  # only the name server is this machine
        (["127.0.0.1", "gpu-host"], {"token": "t"}, "gpu-host"),  # one of several is enough
        ("127.0.0.1", {"token": "two words"}, "blanks"),
        ("127.0.0.1", {"tls": TlsSettings(ca="nowhere.pem")}, r"nowhere\.pem cannot be read"),
        ([], {}, "no address"),
    ],
)
async def test_what_makes_no_sense_is_told_at_once(address: Any, access: dict[str, Any], words: str) -> None:
    with pytest.raises(posewire.InvalidSettings, match=words):
        await AsyncClient(address, **access).__aenter__()


@pytest.mark.parametrize(
    ("address", "access"),
    [
        ("localhost:1", {"token": "t"}),
        ("[::1]:1", {"token": "t"}),
        ("127.0.0.2", {"token": "t"}),
        ("unix:/run/posewire.sock", {"token": "t"}),
        ("unix:///run/posewire.sock", {"token": "t"}),
        ("gpu-host:1", {"token": "t", "tls": TlsSettings()}),
        ("gpu-host:1", {"token": "t", "insecure": True}),
        ("gpu-host:1", {}),
    ],
)
def test_a_token_may_go_where_nobody_listens(address: str, access: dict[str, Any]) -> None:
    assert AsyncClient(address, **access).address.endswith(("1", "50051", "sock"))


def test_a_certificate_needs_its_key_and_tokens_stay_out_of_sight() -> None:
    with pytest.raises(posewire.InvalidSettings, match="both cert and key"):
        TlsSettings(cert="cert.pem")
    assert "secret" not in repr(Access(token="secret"))
