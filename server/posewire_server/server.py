"""A gRPC server with health and reflection. It listens once its networks work, and drains when it is stopped."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import cast

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from posewire.os_errors import reason_of
from posewire.v1.pose_tracking_service_pb2_grpc import add_PoseTrackingServiceServicer_to_server
from posewire_server.admission.access import AccessControl
from posewire_server.admission.awaited_requests import AwaitedRequests
from posewire_server.admission.decoding_shares import DecodingShares
from posewire_server.admission.precedence import Precedence
from posewire_server.admission.tls import server_credentials
from posewire_server.admission.tokens import TokenFile
from posewire_server.config import ServerConfig
from posewire_server.configuration import ConfigError
from posewire_server.decoding.choice import choose_decoding
from posewire_server.decoding.decoding import Decoding
from posewire_server.drain import DrainSignal
from posewire_server.inference.device_loss import DeviceLoss
from posewire_server.inference.networks import Networks, load_networks
from posewire_server.inference.pipeline import Pipeline
from posewire_server.observability.gauges import describe_server
from posewire_server.observability.health import HEALTH_NAMES, HealthService, StageHealth
from posewire_server.observability.logs import facts
from posewire_server.observability.metrics import Metrics, MetricsExporter
from posewire_server.observability.tracing import FrameTracer, otlp_exporter
from posewire_server.recording.recorder import Recorder
from posewire_server.recording.tap import RecordingTap
from posewire_server.service import SERVICE, PoseTrackingService
from posewire_server.streams.snapshots import Snapshots, load_key
from posewire_server.streams.stream import Shared
from posewire_server.wire.message_size import MOST_TOKEN_BYTES
from posewire_server.wire.reflection import add_reflection
from posewire_server.workers import Workers, wait_for_last_work

__all__ = ["PoseServer", "running_server"]

log = logging.getLogger(__name__)

# Room in a message besides its frame: a resume token, settings, boxes. A frame of up to twice the accepted size fails
# alone; gRPC itself rejects larger ones, which ends the stream.
_MESSAGE_OVERHEAD = MOST_TOKEN_BYTES + 2**20
# The largest value that gRPC accepts.
_LONGEST_MESSAGE = 2**31 - 1
_MOST_METADATA_BYTES = 2**14
# Calls per connection beyond its streams and pictures: streams that are being opened, health checks and the like.
_MORE_CALLS = 64
# Mainly for TLS. gRPC's clients give up after 20 s, its servers by default only after two minutes.
_LONGEST_HANDSHAKE_MS = 20_000
# For sending the status after the last handler has returned.
_LAST_WORDS_S = 0.2
# For gRPC to cancel the remaining calls, which usually takes hardly any time.
_CUT_OFF_S = 5.0


@dataclass(frozen=True)
class _Secrets:
    """What the configured files of keys, tokens and certificates hold.

    Attributes:
        resume_key: signs snapshots.
        tokens: of the callers; None: anybody may call.
        certificates: for TLS; None: unencrypted.
    """

    resume_key: bytes
    tokens: TokenFile | None
    certificates: grpc.ServerCredentials | None

    @classmethod
    def read(cls, config: ServerConfig) -> _Secrets:
        """Read all of them.

        Raises:
            ConfigError, ValueError, OSError: one cannot be read or used; the message says why.
        """
        security = config.security
        return cls(
            resume_key=load_key(config.resume_key),
            tokens=None if security.tokens is None else TokenFile(security.tokens),
            certificates=server_credentials(security) if security.tls else None,
        )


class PoseServer:
    """A server that accepts calls; created by `PoseServer.start`.

    Attributes:
        address: `host:port` to connect to.
        port: the bound port.
        device_loss: notices if the GPU has failed for good, or hangs; then the server is of no use any more.
        service: the servicer.
        metrics: for Prometheus.
    """

    def __init__(self, config: ServerConfig, secrets: _Secrets, networks: Networks, decoding: Decoding) -> None:
        self._config = config
        self._certificates = secrets.certificates
        self.metrics = Metrics()
        self._recorder = Recorder(config.record, config.record_max_mb * 2**20) if config.record is not None else None
        self._health = HealthService()
        self.device_loss = DeviceLoss(networks.torch_device)
        watches = [each.batch_done for each in (self.metrics, StageHealth(self._health), self.device_loss)]
        self._pipeline = Pipeline(networks, config.batching, watches)
        self._drain = DrainSignal(config.drain_grace_s)
        self._decoding = decoding
        self._decoding_threads = Workers(decoding.threads(config), "posewire-decoder")
        self._tracer = FrameTracer(otlp_exporter(config.traces), config.traces_share) if config.traces else None
        shared = Shared(
            pipeline=self._pipeline,
            decoding_threads=self._decoding_threads,
            shares=DecodingShares(self._decoding_threads, decoding.threads(config)),
            limits=config.limits,
            drain=self._drain,
            snapshots=Snapshots(secrets.resume_key, config.resume_lifetime_s, networks.joint_set),
            metrics=self.metrics,
            tracer=self._tracer,
            decoding=decoding,
            precedence=Precedence(on_gpu=networks.torch_device.type != "cpu"),
        )
        self.service = PoseTrackingService(config, shared)
        self._exporter: MetricsExporter | None = None
        rates, refusals = self.service.rates, self.service.refusals
        interceptors: list[grpc.aio.ServerInterceptor] = []  # in the order in which a call meets them
        if secrets.tokens is not None:
            interceptors.append(AccessControl(secrets.tokens, rates, refusals))
        interceptors.append(AwaitedRequests(self.service.places, rates, refusals))
        self._server = grpc.aio.server(interceptors=interceptors, options=_channel_options(config))
        self.port = config.port  # until it is bound

    @classmethod
    async def start(cls, config: ServerConfig, networks: Networks | None = None) -> PoseServer:
        """Load and warm up the networks, then listen.

        Args:
            config: settings.
            networks: used instead of those that `config` names.

        Raises:
            ConfigError: the server cannot listen on the address, or a file of certificates or tokens cannot be used.
            ValueError, OSError: the networks cannot be loaded, see `load_networks`.
        """
        # First, since loading the networks takes seconds, and a wrong file should not take that long to notice.
        secrets = await asyncio.to_thread(_Secrets.read, config)
        if networks is None:
            networks = await asyncio.to_thread(load_networks, config)
        decoding = await asyncio.to_thread(choose_decoding, config, networks.torch_device)
        server = cls(config, secrets, networks, decoding)
        try:
            await server._pipeline.warm_up()
            await server._listen()
        except BaseException:
            await server._release()
            raise
        return server

    @property
    def address(self) -> str:
        """Where clients connect."""
        host = f"[{self._config.host}]" if ":" in self._config.host else self._config.host
        return f"{host}:{self.port}"

    async def stop(self) -> None:
        """Drain: no new streams, open ones finish their current frame; then stop, at the latest after the grace."""
        log.info("draining", extra=facts(streams=self.service.places.streams, grace_s=self._config.drain_grace_s))
        self._drain.set()
        self._health.enter_graceful_shutdown()
        # The port stays open meanwhile, so that new calls are refused with a message instead of being cut off by gRPC.
        # Wait only for streams and pictures: a health watch must not use up the grace period.
        with suppress(TimeoutError):
            await asyncio.wait_for(self.service.places.wait_until_idle(), self._config.drain_grace_s)
        stopping = asyncio.ensure_future(self._server.stop(_LAST_WORDS_S))
        try:
            await asyncio.wait_for(asyncio.shield(stopping), _LAST_WORDS_S + _CUT_OFF_S)
        except TimeoutError:
            log.error("gRPC does not end its connections; they end with the process")
        await self._release()
        log.info("stopped")

    async def _listen(self) -> None:
        tapped = self.service if self._recorder is None else RecordingTap(self.service, self._recorder)
        add_PoseTrackingServiceServicer_to_server(cast(PoseTrackingService, tapped), self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_reflection(self._server, [SERVICE, health.SERVICE_NAME])
        security = self._config.security
        try:
            if self._certificates is not None:
                self.port = self._server.add_secure_port(self.address, self._certificates)
            else:
                self.port = self._server.add_insecure_port(self.address)
        except RuntimeError as error:
            of_the_key = "" if self._certificates is None else " or the TLS key: use RSA, P-256 or P-384"
            why = await asyncio.to_thread(_why_not, self._config.host, self._config.port)
            raise ConfigError(
                f"cannot listen on {self.address}: {why or f'gRPC cannot use this address{of_the_key}'}; "
                "choose another --port (0: any free one), or another --host"
            ) from error
        networks = self._pipeline.networks
        describe_server(self.metrics, self._pipeline, self.service.places)
        if self._config.metrics_port:
            self._exporter = MetricsExporter(self.metrics, self._config.metrics_host, self._config.metrics_port)
        stages = [name for stage, name in HEALTH_NAMES.items() if stage != "detect" or networks.detector is not None]
        for name in ("", SERVICE, *stages):
            self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()
        log.info(
            "serving",
            extra=facts(
                address=self.address,
                device=networks.device,
                **vars(networks.names),
                **self._decoding.in_words(),
                tls=security.tls,
                tokens=security.tokens is not None,
            ),
        )
        if security.tokens is not None and not security.tls and not self._config.is_local:
            log.warning("tokens are sent unencrypted: eavesdroppers can steal them; add --tls-cert and --tls-key")

    async def _release(self) -> None:
        self._pipeline.close()
        self._decoding_threads.close()
        await asyncio.to_thread(wait_for_last_work)
        ends = [
            each.close for each in (self._decoding, self._recorder, self._exporter, self._tracer) if each is not None
        ]
        await asyncio.gather(*(asyncio.to_thread(end) for end in ends))


@asynccontextmanager
async def running_server(config: ServerConfig, networks: Networks | None = None) -> AsyncIterator[str]:
    """A server inside this process, for tests; yields its address, and drains at the end."""
    server = await PoseServer.start(config, networks)
    try:
        yield server.address
    finally:
        await server.stop()


def _why_not(host: str, port: int) -> str:
    """Why the system does not let a program listen on an address, which gRPC does not say; empty if it does."""
    try:
        for family, kind, _, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
            with socket.socket(family, kind) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as gRPC does
                probe.bind(address)
    except OSError as error:
        return reason_of(error)
    return ""


def _channel_options(config: ServerConfig) -> list[tuple[str, int]]:
    limits = config.limits
    return [
        ("grpc.max_receive_message_length", min(2 * limits.max_frame_bytes + _MESSAGE_OVERHEAD, _LONGEST_MESSAGE)),
        ("grpc.max_send_message_length", -1),
        # By default gRPC refuses some calls at random whose metadata has more than half as much.
        ("grpc.max_metadata_size", _MOST_METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", _MOST_METADATA_BYTES),
        # Uncompressed messages only: frames are compressed anyway, and a few compressed bytes may become gigabytes.
        ("grpc.compression_enabled_algorithms_bitset", 1),
        ("grpc.so_reuseport", 0),  # two servers on one port would split its clients at random
        ("grpc.server_handshake_timeout_ms", _LONGEST_HANDSHAKE_MS),
        # How often clients may ping idle connections; more frequent pings look like an attack and end the connection.
        ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
        # The server also pings its clients, to notice within half a minute if one has vanished.
        ("grpc.keepalive_time_ms", 20_000),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.http2.ping_timeout_ms", 10_000),  # the one that counts: without it, a minute
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),  # unlimited
        # Per connection; `Places` has the limits that count.
        ("grpc.max_concurrent_streams", limits.max_streams + limits.max_pictures + _MORE_CALLS),
    ]
