"""Access to a real server: TLS, mutual TLS, tokens and what they allow."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2
from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceStub
from posewire_server import server as server_module
from posewire_server.admission import call_rates, places, tls
from posewire_server.admission.tokens import TokenGrant, append_line, new_token
from posewire_server.config import LimitsConfig, SecurityConfig
from posewire_server.configuration import ConfigError
from posewire_server.server import PoseServer, running_server
from tests.integration.certificates import Authority, Identity
from tests.integration.raw_http2 import raw_call
from tests.integration.service_calls import ALL, LATEST, TrackClient, connected, server_config
from tests.integration.test_service_errors import details
from tests.server.stand_ins import HeldDecoding, jpeg, networks, picture, png

if TYPE_CHECKING:
    from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceAsyncStub

Info = pose_tracking_service_pb2.GetServerInfoRequest
Pictures = pose_tracking_service_pb2.EstimatePosesRequest
List = pose_tracking_service_pb2.ListStreamsRequest
_OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


# -- TLS ---------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"), "ours")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("strangers"), "theirs")


@pytest.fixture(scope="module")
def server_identity(authority: Authority) -> Identity:
    return authority.issue("server")


@asynccontextmanager
async def _over_tls(
    address: str, roots: Authority, own: Identity | None = None
) -> AsyncIterator[PoseTrackingServiceAsyncStub]:
    credentials = grpc.ssl_channel_credentials(
        roots.cert.read_bytes(), *((own.key.read_bytes(), own.cert.read_bytes()) if own else ())
    )
    async with grpc.aio.secure_channel(address, credentials, options=_OWN_CONNECTION) as channel:
        yield PoseTrackingServiceStub(channel)


async def _code(call: Any) -> grpc.StatusCode:
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code()
    return grpc.StatusCode.OK


async def test_tls(authority: Authority, strangers: Authority, server_identity: Identity) -> None:
    security = SecurityConfig(tls_cert=server_identity.cert, tls_key=server_identity.key)
    async with running_server(server_config(security=security), networks()) as address:
        async with _over_tls(address, authority) as stub:
            client = TrackClient(stub)
            await client.open(drop_policy=ALL)
            await client.send(0, jpeg(picture()))
            assert (await client.finish()).tracked.keys() == {0}
        async with connected(address) as stub:  # in the clear
            assert await _code(stub.GetServerInfo(Info())) is grpc.StatusCode.UNAVAILABLE
        async with _over_tls(address, strangers) as stub:  # does not trust the server's authority
            assert await _code(stub.GetServerInfo(Info())) is grpc.StatusCode.UNAVAILABLE


async def test_mutual_tls(authority: Authority, strangers: Authority, server_identity: Identity) -> None:
    security = SecurityConfig(tls_cert=server_identity.cert, tls_key=server_identity.key, client_ca=authority.cert)
    async with running_server(server_config(security=security), networks()) as address:
        async with _over_tls(address, authority, authority.issue("camera")) as stub:
            assert await _code(stub.GetServerInfo(Info())) is grpc.StatusCode.OK
        async with _over_tls(address, authority) as stub:
            assert await _code(stub.GetServerInfo(Info())) is grpc.StatusCode.UNAVAILABLE
        async with _over_tls(address, authority, strangers.issue("camera")) as stub:
            assert await _code(stub.GetServerInfo(Info())) is grpc.StatusCode.UNAVAILABLE


class Installed:
    """A certificate in the place where a server reads it."""

    def __init__(self, folder: Path) -> None:
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"

    def install(self, identity: Identity) -> None:
        self.cert.write_bytes(identity.cert.read_bytes())
        self.key.write_bytes(identity.key.read_bytes())

    @property
    def security(self) -> SecurityConfig:
        return SecurityConfig(tls_cert=self.cert, tls_key=self.key)


async def test_a_renewed_certificate_is_used_without_a_restart(
    tmp_path: Path, authority: Authority, strangers: Authority, caplog: pytest.LogCaptureFixture
) -> None:
    installed = Installed(tmp_path)
    installed.install(authority.issue("first"))
    async with (
        running_server(server_config(security=installed.security), networks()) as address,
        _over_tls(address, authority) as before,
    ):
        assert await _code(before.GetServerInfo(Info())) is grpc.StatusCode.OK
        installed.install(strangers.issue("second"))
        async with _over_tls(address, strangers) as stub:
            assert await _code(stub.GetServerInfo(Info())) is grpc.StatusCode.OK
        assert await _code(before.GetServerInfo(Info())) is grpc.StatusCode.OK  # its connection goes on
        installed.key.write_text("half a key")
        async with _over_tls(address, strangers) as stub:
            assert await _code(stub.GetServerInfo(Info())) is grpc.StatusCode.OK  # with the previous certificate
    assert "the renewed certificates are ignored" in caplog.text


async def test_renewed_certificates_that_cannot_be_read_are_read_later(
    tmp_path: Path, authority: Authority, strangers: Authority, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed = Installed(tmp_path)

    def unreadable(_: Path) -> bytes:
        raise PermissionError(13, "Permission denied", str(installed.key))

    installed.install(authority.issue("first"))
    async with running_server(server_config(security=installed.security), networks()) as address:
        installed.install(strangers.issue("second"))
        with monkeypatch.context() as patch:
            roots = authority.cert.read_bytes()
            patch.setattr(tls, "read_small_file", unreadable)
            channel = grpc.aio.secure_channel(address, grpc.ssl_channel_credentials(roots), options=_OWN_CONNECTION)
            async with channel:
                assert await _code(PoseTrackingServiceStub(channel).GetServerInfo(Info())) is grpc.StatusCode.OK
        async with _over_tls(address, strangers) as stub:
            assert await _code(stub.GetServerInfo(Info())) is grpc.StatusCode.OK


@pytest.mark.parametrize(
    ("cert", "key", "says"),
    [
        ("server.pem", "nowhere.key", "cannot read .*nowhere.key: No such file"),
        ("server.pem", "other.key", "KEY_VALUES_MISMATCH"),
        ("garbage", "server.key", "each must be PEM"),
    ],
)
async def test_certificates_that_cannot_be_used_are_reported_before_the_networks_load(
    tmp_path: Path, authority: Authority, server_identity: Identity, cert: str, key: str, says: str
) -> None:
    (tmp_path / "server.pem").write_bytes(server_identity.cert.read_bytes())
    (tmp_path / "server.key").write_bytes(server_identity.key.read_bytes())
    (tmp_path / "other.key").write_bytes(authority.issue("other").key.read_bytes())
    (tmp_path / "garbage").write_text("-----BEGIN CERTIFICATE-----\nnonsense")
    security = SecurityConfig(tls_cert=tmp_path / cert, tls_key=tmp_path / key)
    with pytest.raises(ConfigError, match=says):
        async with running_server(server_config(security=security, bundle="missing")):
            pass


async def test_a_key_that_grpc_cannot_use_is_not_blamed_on_the_port_alone(authority: Authority) -> None:
    foreign = authority.issue("foreign", curve="secp256k1")
    security = SecurityConfig(tls_cert=foreign.cert, tls_key=foreign.key)
    with pytest.raises(ConfigError, match="gRPC cannot use this address or the TLS key: use RSA, P-256 or P-384"):
        async with running_server(server_config(security=security), networks()):
            pass


# -- tokens ------------------------------------------------------------------------------------------------------------


class Tokens:
    """A token file with some tokens."""

    def __init__(self, file: Path, *grants: TokenGrant) -> None:
        self.file = file
        file.touch()
        self.of: dict[str, str] = {}
        for grant in grants:
            self.add(grant)

    def add(self, grant: TokenGrant) -> None:
        self.of[grant.name], line = new_token(grant)
        append_line(self.file, line)

    def write(self, text: str) -> None:
        """Replace all lines, and let the file look as if that was long ago: a new one might be half written."""
        self.file.write_text(text)
        os.utime(self.file, (0, 0))

    @property
    def security(self) -> SecurityConfig:
        return SecurityConfig(tokens=self.file)

    def metadata(self, name: str) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.of[name]}"),)


class _TokenClient(TrackClient):
    def __init__(self, stub: PoseTrackingServiceAsyncStub, metadata: tuple[tuple[str, str], ...]) -> None:
        super().__init__(stub)
        self.call.cancel()
        self.call = stub.Track(metadata=metadata)


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(tmp_path / "tokens", TokenGrant("door"), TokenGrant("yard"), TokenGrant("boss", admin=True))


async def test_with_a_token_everything_works(tokens: Tokens) -> None:
    async with (
        running_server(server_config(security=tokens.security), networks()) as address,
        connected(address) as stub,
    ):
        client = _TokenClient(stub, tokens.metadata("door"))
        await client.open(drop_policy=ALL)
        await client.send(0, jpeg(picture()))
        assert (await client.finish()).tracked.keys() == {0}
        await stub.GetServerInfo(Info(), metadata=tokens.metadata("yard"))


@pytest.mark.parametrize(
    ("metadata", "says"),
    [
        ((), "a token is needed here"),
        ((("authorization", "Bearer pwt_guess"),), "not known here"),
        ((("authorization", "Basic dXNlcjpwYXNz"),), "not of the form `Bearer TOKEN`"),
        ((("authorization", "Bearer"),), "not of the form"),
        ((("authorization", "Bearer " + "x" * 5000),), "not of the form"),
        ((("authorization", "Bearer a"), ("authorization", "Bearer b")), "more than once"),
    ],
)
async def test_calls_without_a_token_that_is_known(
    tokens: Tokens, metadata: tuple[tuple[str, str], ...], says: str
) -> None:
    async with (
        running_server(server_config(security=tokens.security), networks()) as address,
        connected(address) as stub,
    ):
        client = _TokenClient(stub, metadata)
        errors = [await client.failure()]
        for call in (
            stub.GetServerInfo(Info(), metadata=metadata),
            stub.EstimatePoses(Pictures(codec=pose_pb2.CODEC_JPEG, data=jpeg(picture())), metadata=metadata),
            stub.ListStreams(List(), metadata=metadata),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call
            errors.append(caught.value)
    for error in errors:
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert says in (error.details() or "")
        assert details(error) == ("UNAUTHENTICATED", "")


async def test_calls_without_a_token_are_counted_all_and_logged_once(
    tokens: Tokens, caplog: pytest.LogCaptureFixture
) -> None:
    server = await PoseServer.start(server_config(security=tokens.security), networks())
    async with grpc.aio.insecure_channel(server.address, options=_OWN_CONNECTION) as channel:
        guesses = [channel.unary_unary("/" + "x" * 2000)(b"") for _ in range(20)]
        assert {await _code(call) for call in guesses} == {grpc.StatusCode.UNAUTHENTICATED}
    await server.stop()
    (line,) = (record for record in caplog.records if "call refused" in record.getMessage())
    assert len(vars(line)["posewire_facts"]["method"]) == 100
    count = server.metrics.registry.get_sample_value("posewire_calls_refused_total", {"reason": "unauthenticated"})
    assert count == 20


async def test_guesses_wait_and_calls_with_a_token_do_not(tokens: Tokens, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"_BURST_S": 0.0, "_MOST_WAIT_S": 600.0}.items():
        monkeypatch.setattr(call_rates, name, value)
    limits = LimitsConfig(max_streams=1, max_pictures=2, max_queries_per_s=0.1)
    server = await PoseServer.start(server_config(security=tokens.security, limits=limits), networks())
    async with connected(server.address) as stub:
        guesses = [asyncio.ensure_future(_code(stub.GetServerInfo(Info()))) for _ in range(10)]
        try:
            answered: set[asyncio.Future[grpc.StatusCode]] = set()
            while len(answered) < 3:
                answered, _ = await asyncio.wait(guesses, return_when=asyncio.FIRST_COMPLETED)
            assert await _code(stub.GetServerInfo(Info(), metadata=tokens.metadata("door"))) is grpc.StatusCode.OK
            assert sum(each.done() for each in guesses) == 3
        finally:
            await server.stop()
        assert set(await asyncio.gather(*guesses)) == {grpc.StatusCode.UNAUTHENTICATED}


@asynccontextmanager
async def _decoding_held(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch, slow: bytes
) -> AsyncIterator[tuple[PoseServer, PoseTrackingServiceAsyncStub, HeldDecoding]]:
    """A server with two decoding threads that do not get past the picture `slow`."""
    decoding = HeldDecoding(monkeypatch, slow)
    server = await PoseServer.start(server_config(security=tokens.security, decode_threads=2), networks())
    try:
        async with connected(server.address) as stub:
            yield server, stub, decoding
    finally:
        decoding.go.set()
        await server.stop()


@pytest.mark.parametrize("pictures", [0, 1], ids=["streams", "streams and a picture"])
async def test_one_token_leaves_a_decoding_thread_to_the_others(
    pictures: int, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = png(picture())
    async with _decoding_held(tokens, monkeypatch, slow) as (server, stub, decoding):
        client = _TokenClient(stub, tokens.metadata("door"))
        await client.open(drop_policy=ALL)
        slow_picture = Pictures(codec=pose_pb2.CODEC_PNG, data=slow)
        calls = [stub.EstimatePoses(slow_picture, metadata=tokens.metadata("yard")) for _ in range(pictures)]
        while server.service.places.pictures < pictures:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
        for _ in range(2):
            other = _TokenClient(stub, tokens.metadata("yard"))
            await other.open(pose_pb2.CODEC_PNG, drop_policy=ALL)
            await other.send(0, slow)
            calls.append(other.call)
        assert await asyncio.to_thread(decoding.begun.wait, 30)
        await client.send(0, jpeg(picture()))
        await client.read_until("tracked")
        assert not decoding.over.is_set()
        decoding.go.set()
        for call in (client.call, *calls):
            call.cancel()


async def test_a_picture_that_waits_for_those_of_others_holds_up_no_stream(
    tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow, quick = png(picture()), jpeg(picture())
    async with _decoding_held(tokens, monkeypatch, slow) as (server, stub, decoding):
        client = _TokenClient(stub, tokens.metadata("door"))
        await client.open(drop_policy=ALL)
        of_others = stub.EstimatePoses(Pictures(codec=pose_pb2.CODEC_PNG, data=slow), metadata=tokens.metadata("yard"))
        assert await asyncio.to_thread(decoding.begun.wait, 30)
        waiting = stub.EstimatePoses(Pictures(codec=pose_pb2.CODEC_JPEG, data=quick), metadata=tokens.metadata("door"))
        while server.service.places.pictures < 2:  # noqa: ASYNC110  nobody tells
            await asyncio.sleep(0.01)
        await client.send(0, quick)
        await client.read_until("tracked")
        assert not waiting.done()
        decoding.go.set()
        await asyncio.gather(of_others, waiting)
        client.call.cancel()


async def test_reflection_needs_a_token_and_health_does_not(tokens: Tokens) -> None:
    async with (
        running_server(server_config(security=tokens.security), networks()) as address,
        grpc.aio.insecure_channel(address, options=_OWN_CONNECTION) as channel,
    ):
        answer = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        reflect = channel.stream_stream("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo")()
        assert await _code(reflect.read()) is grpc.StatusCode.UNAUTHENTICATED


async def test_tokens_come_and_go_while_the_server_runs(tokens: Tokens, caplog: pytest.LogCaptureFixture) -> None:
    async with (
        running_server(server_config(security=tokens.security), networks()) as address,
        connected(address) as stub,
    ):
        tokens.add(TokenGrant("late"))
        assert await _code(stub.GetServerInfo(Info(), metadata=tokens.metadata("late"))) is grpc.StatusCode.OK
        kept = [line for line in tokens.file.read_text().splitlines() if not line.startswith("door")]
        tokens.write("\n".join(kept) + "\n")
        withdrawn = await _code(stub.GetServerInfo(Info(), metadata=tokens.metadata("door")))
        assert withdrawn is grpc.StatusCode.UNAUTHENTICATED
        tokens.file.write_text("nonsense")
        assert await _code(stub.GetServerInfo(Info(), metadata=tokens.metadata("yard"))) is grpc.StatusCode.OK
    assert "cannot be used, the tokens stay as they were" in caplog.text


async def test_an_open_stream_ends_when_its_token_is_withdrawn(tokens: Tokens) -> None:
    async with (
        running_server(server_config(security=tokens.security), networks()) as address,
        connected(address) as stub,
    ):
        door, yard = (_TokenClient(stub, tokens.metadata(name)) for name in ("door", "yard"))
        for client in (door, yard):
            await client.open(drop_policy=ALL)
        kept = [line for line in tokens.file.read_text().splitlines() if not line.startswith("door")]
        tokens.write("\n".join(kept) + "\n")
        error = await door.failure()
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
        assert "was withdrawn" in (error.details() or "")
        await yard.send(0, jpeg(picture(0)))
        assert (await yard.finish()).answered == {0}  # nobody else notices


async def test_an_open_stream_is_drained_when_its_token_allows_something_else(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens", TokenGrant("door", fps=20), TokenGrant("yard"))
    async with (
        running_server(server_config(security=tokens.security), networks()) as address,
        connected(address) as stub,
    ):
        door, yard = (_TokenClient(stub, tokens.metadata(name)) for name in ("door", "yard"))
        for client in (door, yard):
            await client.open(drop_policy=ALL)
        tokens.write(tokens.file.read_text().replace("fps=20", "fps=0.5"))
        await door.read_until("drain")
        answers = await door.finish()
        again = _TokenClient(stub, tokens.metadata("door"))
        await again.open(drop_policy=LATEST, resume=settings_pb2.ResumeRequest(token=answers.token))
        for number in range(4):
            await again.send(number, jpeg(picture(number)))
        dropped = (await again.finish()).dropped
        assert {number for number, reason in dropped.items() if reason == track_pb2.DROP_REASON_OVER_RATE} == {2, 3}
        await yard.send(0, jpeg(picture()))
        assert (await yard.finish()).answered == {0}  # nobody else notices


async def test_streams_of_a_token(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens", TokenGrant("door", streams=1), TokenGrant("yard"))
    async with (
        running_server(server_config(security=tokens.security), networks()) as address,
        connected(address) as stub,
    ):
        first = _TokenClient(stub, tokens.metadata("door"))
        await first.open()
        second = _TokenClient(stub, tokens.metadata("door"))
        await second.configure(settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG))
        error = await second.failure()
        assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert "its limit is streams=1" in (error.details() or "")
        other = _TokenClient(stub, tokens.metadata("yard"))
        await other.open()
        await first.finish()
        third = _TokenClient(stub, tokens.metadata("door"))
        await third.open()
        fourth = _TokenClient(stub, tokens.metadata("door"))
        await fourth.configure(settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG))
        third.call.cancel()  # the server learns of the new call first
        await fourth.read()
        assert fourth.answers.started is not None
        await fourth.send(0, jpeg(picture()))
        await fourth.read_until("tracked")
        # As a client whose connection was lost, which the server does not know.
        resume = settings_pb2.ResumeRequest(token=fourth.answers.token)
        yard = _TokenClient(stub, tokens.metadata("yard"))
        await yard.open(resume=resume)
        fifth = _TokenClient(stub, tokens.metadata("door"))
        started = (await fifth.open(resume=resume)).started
        assert started is not None
        assert started.resume.resumed
        assert "continues in another one" in ((await fourth.failure()).details() or "")
        await yard.send(1, jpeg(picture()))
        assert (await yard.finish()).answered == {1}


async def test_a_stream_may_be_told_to_give_way_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It ends only when the picture that is being decoded is done."""
    monkeypatch.setattr(places, "_ENDING_S", 0.01)
    tokens = Tokens(tmp_path / "tokens", TokenGrant("door", streams=1))
    async with _decoding_held(tokens, monkeypatch, slow := png(picture(1))) as (_, stub, decoding):
        client = _TokenClient(stub, tokens.metadata("door"))
        await client.open(pose_pb2.CODEC_PNG)
        await client.send(0, png(picture()))
        await client.read_until("tracked")
        await client.send(1, slow)
        await asyncio.to_thread(decoding.begun.wait, 30)
        resume = settings_pb2.ResumeRequest(token=client.answers.token)
        for _ in range(2):
            again = _TokenClient(stub, tokens.metadata("door"))
            await again.configure(settings_pb2.StreamConfig(codec=pose_pb2.CODEC_PNG, resume=resume))
            assert (await again.failure()).code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_pixels_of_a_token(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens", TokenGrant("small", pixels=100 * 100), TokenGrant("any"))
    outcome = {}
    async with (
        running_server(server_config(security=tokens.security), networks()) as address,
        connected(address) as stub,
    ):
        for name in ("small", "any"):
            client = _TokenClient(stub, tokens.metadata(name))
            await client.open(drop_policy=ALL)
            await client.send(0, jpeg(picture(size=(240, 320))))
            answers = await client.finish()
            outcome[name] = (len(answers.tracked), [failed.reason for failed in answers.failed.values()])
            request = Pictures(codec=pose_pb2.CODEC_JPEG, data=jpeg(picture()))
            single = await _code(stub.EstimatePoses(request, metadata=tokens.metadata(name)))
            refused = grpc.StatusCode.RESOURCE_EXHAUSTED if name == "small" else grpc.StatusCode.OK
            assert single is refused
            info = await stub.GetServerInfo(Info(), metadata=tokens.metadata(name))
            most = 100 * 100 if name == "small" else LimitsConfig().max_frame_pixels
            assert info.limits.max_frame_pixels == most  # as this caller meets it
    assert outcome == {"small": (0, [track_pb2.FAILURE_REASON_TOO_LARGE]), "any": (1, [])}


async def test_frames_a_second_of_a_token(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens", TokenGrant("slow", fps=0.01))  # two frames, then none for a long time
    async with (
        running_server(server_config(security=tokens.security), networks()) as address,
        connected(address) as stub,
    ):
        client = _TokenClient(stub, tokens.metadata("slow"))
        await client.open(drop_policy=LATEST)
        for number in range(4):
            await client.send(number, jpeg(picture(number)))
        answers = await client.finish()
        assert answers.tracked
        assert answers.tracked.keys() <= {0, 1}
        over_rate = {number for number, why in answers.dropped.items() if why == track_pb2.DROP_REASON_OVER_RATE}
        assert over_rate == {2, 3}
        request = Pictures(codec=pose_pb2.CODEC_JPEG, data=jpeg(picture()))
        with pytest.raises(grpc.aio.AioRpcError) as caught:  # streams and pictures share one allowance
            await stub.EstimatePoses(request, metadata=tokens.metadata("slow"))
        assert details(caught.value) == ("LIMIT_REACHED", "")


async def test_whose_streams_are_listed(tokens: Tokens) -> None:
    async with (
        running_server(server_config(security=tokens.security), networks()) as address,
        connected(address) as stub,
    ):
        for name in ("door", "yard"):
            client = _TokenClient(stub, tokens.metadata(name))
            await client.open(name=f"camera at the {name}")
        own = await stub.ListStreams(List(), metadata=tokens.metadata("door"))
        assert [(each.caller, each.name) for each in own.streams] == [("door", "camera at the door")]
        every = await stub.ListStreams(List(all_callers=True), metadata=tokens.metadata("boss"))
        assert [each.caller for each in every.streams] == ["door", "yard"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListStreams(List(all_callers=True), metadata=tokens.metadata("door"))
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert details(caught.value) == ("NOT_PERMITTED", "all_callers")


async def test_no_secret_is_ever_logged(tokens: Tokens, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    key = tmp_path / "resume.key"
    key.write_bytes(bytes(range(65, 65 + 32)))
    config = server_config(security=tokens.security, resume_key=key)
    async with running_server(config, networks()) as address, connected(address) as stub:
        client = _TokenClient(stub, tokens.metadata("door"))
        await client.open(drop_policy=ALL, name="front door")
        await client.send(0, jpeg(picture()))
        await client.send(1, b"not a picture")
        answers = await client.finish()
        assert answers.token
        refused = _TokenClient(stub, (("authorization", "Bearer pwt_almost"),))
        await refused.failure()
        forged = settings_pb2.ResumeRequest(token=b"forged" + answers.token)
        again = _TokenClient(stub, tokens.metadata("door"))
        await again.open(resume=forged)
        await again.finish()
    lines = "\n".join(f"{record.getMessage()} {vars(record)}" for record in caplog.records)
    assert "front door" in lines  # the streams were logged
    assert "call refused" in lines
    for secret in (*tokens.of.values(), "pwt_almost", *tokens.file.read_text().split(), repr(answers.token)[2:40]):
        assert secret not in lines
    assert "ABCDEFGHIJ" not in lines  # the resume key


# -- how long a stream may last ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("limits", [LimitsConfig(max_stream_s=0.4), LimitsConfig(max_idle_s=0.4)])
async def test_a_stream_whose_time_is_up_is_drained_with_its_token(limits: LimitsConfig) -> None:
    async with running_server(server_config(limits=limits), networks()) as address, connected(address) as stub:
        client = TrackClient(stub)
        await client.open(drop_policy=ALL)
        await client.send(0, jpeg(picture()))
        await client.read_until("drain")
        answers = await client.finish()
        assert answers.tracked.keys() == {0}
        assert answers.summary is not None
        again = TrackClient(stub)
        resumed = await again.open(resume=settings_pb2.ResumeRequest(token=answers.token))
        assert resumed.started is not None
        assert resumed.started.resume.resumed


@pytest.mark.parametrize("max_stream_s", [0.0, 0.2], ids=["open", "draining"])
async def test_a_client_that_does_not_read_is_sent_away(max_stream_s: float) -> None:
    limits = LimitsConfig(max_stall_s=1.0, max_stream_s=max_stream_s, max_streams=1)
    async with running_server(server_config(limits=limits), networks()) as address:
        options = [*_OWN_CONNECTION, ("grpc.http2.lookahead_bytes", 1024), ("grpc.http2.bdp_probe", 0)]
        async with grpc.aio.insecure_channel(address, options=options) as channel:
            stalled = TrackClient(PoseTrackingServiceStub(channel))
            await stalled.open(drop_policy=ALL)

            async def flood() -> None:
                for number in range(1_000_000):
                    await stalled.send(number, b"x" * 100)

            flooding = asyncio.create_task(flood())
            codes = []
            try:
                async with connected(address) as stub, asyncio.timeout(20):
                    while grpc.StatusCode.OK not in codes:  # until there is a place again
                        other = TrackClient(stub)
                        await other.configure(settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG))
                        codes.append(await _code(other.read()))
            finally:
                flooding.cancel()
                await asyncio.wait({flooding})
            assert set(codes[:-1]) <= {grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_a_handshake_that_does_not_end_is_closed(
    monkeypatch: pytest.MonkeyPatch, server_identity: Identity
) -> None:
    monkeypatch.setattr(server_module, "_LONGEST_HANDSHAKE_MS", 200)
    security = SecurityConfig(tls_cert=server_identity.cert, tls_key=server_identity.key)
    async with running_server(server_config(security=security), networks()) as address, asyncio.timeout(60):
        reader, writer = await asyncio.open_connection(*address.split(":"))
        writer.write(b"\x16\x03\x01\x02\x00")  # the head of a ClientHello
        await reader.read()  # to its end
        writer.close()


async def test_a_token_cannot_take_all_places_for_opening(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens", TokenGrant("few", streams=1), TokenGrant("many"), TokenGrant("yard"))
    limits = LimitsConfig(max_streams=4)
    async with (
        running_server(server_config(limits=limits, security=tokens.security), networks()) as address,
        connected(address) as stub,
        connected(address) as other,
    ):
        for name, own in (("few", 9), ("many", 34)):
            calls = [stub.Track(metadata=tokens.metadata(name)) for _ in range(own + 1)]
            refused, _ = await asyncio.wait(
                [asyncio.ensure_future(call.read()) for call in calls], return_when=asyncio.FIRST_COMPLETED
            )
            assert len(refused) == 1
            with pytest.raises(grpc.aio.AioRpcError, match=f"configurations of {own} of your new streams"):
                refused.pop().result()
            client = _TokenClient(other, tokens.metadata("yard"))
            await client.open()
            await client.finish()
            for call in calls:
                call.cancel()


async def test_a_token_cannot_take_all_places_for_pictures(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path / "tokens", TokenGrant("many"), TokenGrant("yard"))
    config = server_config(limits=LimitsConfig(max_pictures=5), security=tokens.security)
    request = Pictures(codec=pose_pb2.CODEC_JPEG, data=jpeg(picture()))
    async with (
        running_server(config, networks()) as address,
        connected(address) as stub,
        grpc.aio.insecure_channel(address, options=_OWN_CONNECTION) as channel,
        asyncio.timeout(60),
    ):
        estimate = channel.stream_stream("/posewire.v1.PoseTrackingService/EstimatePoses")
        calls = [estimate(metadata=tokens.metadata("many")) for _ in range(3)]  # none of them sends a picture
        refused, waiting = await asyncio.wait(
            [asyncio.ensure_future(_code(call.read())) for call in calls], return_when=asyncio.FIRST_COMPLETED
        )
        assert [each.result() for each in refused] == [grpc.StatusCode.RESOURCE_EXHAUSTED]
        with pytest.raises(grpc.aio.AioRpcError, match="another picture: its limit is 2, half") as caught:
            await stub.EstimatePoses(request, metadata=tokens.metadata("many"))
        assert details(caught.value)[0] == "LIMIT_REACHED"
        assert len((await stub.EstimatePoses(request, metadata=tokens.metadata("yard"))).people) == 2
        for call in calls:
            call.cancel()
        await asyncio.wait(waiting)
        codes = []
        while grpc.StatusCode.OK not in codes:  # until the server has noticed
            codes.append(await _code(stub.EstimatePoses(request, metadata=tokens.metadata("many"))))
        assert set(codes[:-1]) <= {grpc.StatusCode.RESOURCE_EXHAUSTED}


async def test_a_stream_whose_first_response_is_not_read_gives_its_place_back() -> None:
    server = await PoseServer.start(server_config(limits=LimitsConfig(max_stall_s=0.1)), networks())
    opening = track_pb2.TrackRequest(config=settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG)).SerializeToString()
    async with raw_call(server.port, "/posewire.v1.PoseTrackingService/Track", opening, window=0) as unread:
        await unread.began.wait()
        await server.service.places.wait_until_idle()
    await server.stop()
    count = server.metrics.registry.get_sample_value("posewire_calls_refused_total", {"reason": "stalled"})
    assert count == 1
