"""Settings of the server: frozen, validated at construction, units in the names.

`configuration.load_config` builds a `ServerConfig` from a TOML file, the environment and flags.
"""

from __future__ import annotations

import ipaddress
import os
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from posewire_server.ranges import check_range
from posewire_server.tracking.config import TrackerConfig

__all__ = [
    "DEFAULT_PORT",
    "LEAST_FRAME_PIXELS",
    "MOST_FRAME_PIXELS",
    "MOST_PEOPLE",
    "BatchingConfig",
    "LimitsConfig",
    "LogFormat",
    "LogLevel",
    "SecurityConfig",
    "ServerConfig",
    "StageBatchingConfig",
]

DEFAULT_PORT = 50051
LEAST_FRAME_PIXELS = 32 * 32
"""The least that a limit of a frame's pixels may be."""
MOST_FRAME_PIXELS = 2**28
"""The most that it may be."""
MOST_PEOPLE = 1000
"""The most that a limit of the people in a frame may be."""
_DECODERS = ("auto", "cpu", "gpu")


class LogLevel(StrEnum):
    """Least severity that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """How log lines look. `AUTO` is human on a terminal, JSON elsewhere."""

    AUTO = "auto"
    HUMAN = "human"
    JSON = "json"


@dataclass(frozen=True, kw_only=True)
class LimitsConfig:
    """What the server accepts; whoever asks for more gets an error that names the limit.

    Attributes:
        max_frame_bytes: bytes of one encoded frame or picture.
        max_frame_pixels: width times height of one decoded frame; checked in its header, before it is decoded.
        max_streams: streams open at the same time.
        max_openings_per_s: streams that a token, or without tokens a host, may open a second in the long run; after a
            pause `max_streams` at once. Beyond it, whoever opens one waits.
        max_pictures: single pictures (EstimatePoses) in work at the same time.
        max_people: people estimated in one frame, and boxes that a caller may give with it.
        max_inbox: frames of a stream that wait for their turn under DROP_POLICY_ALL (under DROP_POLICY_LATEST: one, or
            this many units of a video codec, which must all be decoded).
        max_fps: frames a second that are read from one stream under DROP_POLICY_LATEST, where they would only supersede
            each other; a client that sends more is held back.
        max_stream_s: a stream that has been open for so long is drained, so that its client resumes it; 0: never.
        max_idle_s: likewise one on which no frame came for so long; 0: never.
        max_stall_s: a stream whose client does not read a response for so long is ended.
    """

    max_frame_bytes: int = 32 * 2**20
    max_frame_pixels: int = 4096 * 3072
    max_streams: int = 64
    max_openings_per_s: float = 5.0
    max_pictures: int = 16
    max_people: int = 100
    max_inbox: int = 8
    max_fps: float = 120.0
    max_stream_s: float = 86_400.0
    max_idle_s: float = 600.0
    max_stall_s: float = 30.0

    def __post_init__(self) -> None:
        check_range("limits.max_frame_bytes", self.max_frame_bytes, 1024, 2**30)
        check_range("limits.max_frame_pixels", self.max_frame_pixels, LEAST_FRAME_PIXELS, MOST_FRAME_PIXELS)
        check_range("limits.max_streams", self.max_streams, 1, 10_000)
        check_range("limits.max_openings_per_s", self.max_openings_per_s, 0.1, 1e6)
        check_range("limits.max_pictures", self.max_pictures, 1, 10_000)
        check_range("limits.max_people", self.max_people, 1, MOST_PEOPLE)
        check_range("limits.max_inbox", self.max_inbox, 1, 1000)
        check_range("limits.max_fps", self.max_fps, 1, 1e6)
        check_range("limits.max_stream_s", self.max_stream_s, 0, 1e9)
        check_range("limits.max_idle_s", self.max_idle_s, 0, 1e9)
        check_range("limits.max_stall_s", self.max_stall_s, 0.1, 1e6)


@dataclass(frozen=True, kw_only=True)
class SecurityConfig:
    """Who may connect, and whether others can listen in.

    Attributes:
        tls_cert: PEM file with the server's certificate chain; None: no TLS.
        tls_key: PEM file with its private key.
        client_ca: PEM file with the authorities whose certificates clients must show (mutual TLS); None: none.
        tokens: file with the hashes of the tokens that are accepted, see `tokens`; None: no token is needed.
        insecure: listen beyond this machine even though anybody could call.
    """

    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("of tls_cert and tls_key there is only one; give both for TLS, or none")
        if self.client_ca is not None and self.tls_cert is None:
            raise ValueError("client_ca is given without TLS; give tls_cert and tls_key too")

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls_cert is not None


@dataclass(frozen=True, kw_only=True)
class StageBatchingConfig:
    """How requests of all streams are joined for one stage of inference.

    Attributes:
        max_batch: items (frames, pairs of frames, or people) that go through the network together; 0: as many as suit
            stage and device, see `BatchingConfig.on`.
        max_wait_ms: how long the oldest request may wait for others that are on their way. A lone request never waits.
    """

    max_batch: int = 0
    max_wait_ms: float = 2.0

    def __post_init__(self) -> None:
        check_range("max_batch", self.max_batch, 0, 1024)
        check_range("max_wait_ms", self.max_wait_ms, 0.0, 1000.0)


@dataclass(frozen=True, kw_only=True)
class BatchingConfig:
    """Batching of the three stages."""

    detect: StageBatchingConfig = field(default_factory=StageBatchingConfig)
    flow: StageBatchingConfig = field(default_factory=StageBatchingConfig)
    pose: StageBatchingConfig = field(default_factory=StageBatchingConfig)

    def on(self, device: str) -> BatchingConfig:
        """The same with the sizes that nobody chose, for networks on a device of this type: `cpu`, `cuda`.

        A GPU takes a full batch in little more time than a single frame: there, batches grow to the largest size that
        has a graph; those of people to four of them.
        """
        frames, people = (8, 64) if device == "cpu" else (32, 128)

        def up_to(most: int, stage: StageBatchingConfig) -> StageBatchingConfig:
            return replace(stage, max_batch=stage.max_batch or most)

        return BatchingConfig(
            detect=up_to(frames, self.detect), flow=up_to(frames, self.flow), pose=up_to(people, self.pose)
        )


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """Everything that the server can be told.

    Attributes:
        host: address to listen on; the default is reachable from this machine only.
        port: 0 takes a free one.
        bundle: name or folder of the bundle of networks.
        detector: `auto` (the bundle's own if it has one, else none), or a detector specification, e.g. `onnx:PATH`.
        flow: `auto` (the bundle's own, for the device), or a flow specification, e.g. `dis`.
        device: `auto`, `cpu`, `cuda`, `cuda:N`.
        runtime: what runs the networks: torch, openvino (on a CPU), cuda-graphs (on a GPU), or auto: the last on a
            GPU, on a CPU the second where it is installed.
        precision: in what they compute: float32, float16, bfloat16, or auto: float32 on a CPU, float16 on a GPU.
        jpeg_decoder: what decodes JPEGs: cpu, gpu, or auto, whichever is faster at the start.
        video_decoder: what decodes H.264 and H.265, likewise.
        threads: threads of a network on the CPU; 0 leaves it to the libraries.
        decode_threads: threads that decode frames; 0 is half the CPU cores.
        log_level: least severity that is logged.
        log_format: `auto`, `human` or `json`.
        drain_grace_s: how long streams may take to finish when the server is told to stop.
        resume_key: file with the secret that signs resume tokens, the same on servers that continue each other's
            streams; made if it is not there. None: one in the user's state directory.
        resume_lifetime_s: a resume token is accepted for so long.
        metrics_port: port on which Prometheus finds the metrics, over HTTP; 0: they are not served.
        metrics_host: address for that; the default is reachable from this machine only.
        traces: OpenTelemetry collector that gets the frames' ways as spans, e.g. `http://localhost:4317`; empty: none.
        traces_share: of the frames that are traced, 0..1.
        record: folder into which every stream is recorded, requests and results; None: nothing is.
        record_max_mb: the recordings in it take so much space at most; the oldest ones make room.
        port_file: file that gets the bound port once the server accepts calls.
        exit_on_stdin_eof: stop when standard input ends, as it does when the program that started the server is gone.
        security: who may connect.
        limits: what the server accepts.
        batching: how requests are joined.
        tracker: what streams get that leave a tracker setting out.

    Raises:
        ValueError: a value is out of range; the message names it, the range and the remedy.
    """

    host: str = "127.0.0.1"
    port: int = DEFAULT_PORT
    bundle: str = "nano"
    detector: str = "auto"
    flow: str = "auto"
    device: str = "auto"
    runtime: str = "auto"
    precision: str = "auto"
    jpeg_decoder: str = "auto"
    video_decoder: str = "auto"
    threads: int = 0
    decode_threads: int = 0
    log_level: LogLevel = LogLevel.INFO
    log_format: LogFormat = LogFormat.AUTO
    drain_grace_s: float = 2.0
    resume_key: Path | None = None
    resume_lifetime_s: float = 60.0
    metrics_port: int = 0
    metrics_host: str = "127.0.0.1"
    traces: str = ""
    traces_share: float = 0.01
    record: Path | None = None
    record_max_mb: int = 2048
    port_file: Path | None = None
    exit_on_stdin_eof: bool = False
    security: SecurityConfig = field(default_factory=SecurityConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    batching: BatchingConfig = field(default_factory=BatchingConfig)
    tracker: TrackerConfig = field(default_factory=TrackerConfig)

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host is empty; use 127.0.0.1 for this machine only, 0.0.0.0 for every network")
        for name in ("bundle", "detector", "flow", "device"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; leave it out for the default")
        for name in ("jpeg_decoder", "video_decoder"):
            if getattr(self, name) not in _DECODERS:
                raise ValueError(f"{name} is {getattr(self, name)!r}; use {', '.join(_DECODERS)}")
        if not (self.is_local or self.security.tls or self.security.tokens or self.security.insecure):
            raise ValueError(
                f"host is {self.host}: other machines could connect, and anybody there could use this server and watch "
                "its streams. Give tokens (--tokens FILE, made with `posewire token`), TLS (--tls-cert FILE --tls-key "
                "FILE), best both; or say --insecure if everybody in that network may"
            )
        check_range("port", self.port, 0, 65535)
        check_range("metrics_port", self.metrics_port, 0, 65535)
        check_range("traces_share", self.traces_share, 0.0, 1.0)
        if self.traces and not self.traces.startswith(("http://", "https://")):
            raise ValueError(f"traces is {self.traces!r}; it must be an address such as http://localhost:4317")
        check_range("record_max_mb", self.record_max_mb, 1, 10**8)
        check_range("threads", self.threads, 0, 1024)
        check_range("decode_threads", self.decode_threads, 0, 1024)
        check_range("drain_grace_s", self.drain_grace_s, 0.0, 600.0)
        check_range("resume_lifetime_s", self.resume_lifetime_s, 0.0, 86_400.0)
        if self.tracker.max_people > self.limits.max_people:
            raise ValueError(
                f"tracker.max_people is {self.tracker.max_people}, above limits.max_people ({self.limits.max_people}); "
                "raise the limit or lower the default"
            )

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect. A name other than `localhost` may mean anything."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def decoders(self) -> int:
        """Threads that decode frames."""
        return self.decode_threads or max(1, (os.cpu_count() or 2) // 2)
