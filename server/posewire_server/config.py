"""Settings of the server: frozen, validated at construction, units in the names.

`configuration.load_config` builds a `ServerConfig` from a TOML file, the environment and flags.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path

from posewire.usable_cores import usable_cores
from posewire_models.specs import DEVICE, PRECISIONS, RUNTIMES, parse_detector_spec, parse_flow_spec
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
"""Lower bound of limits on a frame's pixels."""
MOST_FRAME_PIXELS = 2**28
"""Upper bound of these limits."""
MOST_PEOPLE = 1000
"""Upper bound of the limit on people per frame."""
_DECODERS = ("auto", "cpu", "gpu")
_KNOWN = {"runtime": RUNTIMES, "precision": PRECISIONS, "jpeg_decoder": _DECODERS, "video_decoder": _DECODERS}


class LogLevel(StrEnum):
    """Minimum severity of log messages."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class LogFormat(StrEnum):
    """Format of log lines. `AUTO` is `HUMAN` on a terminal, `JSON` elsewhere."""

    AUTO = "auto"
    HUMAN = "human"
    JSON = "json"


@dataclass(frozen=True, kw_only=True)
class LimitsConfig:
    """What the server accepts; a request beyond a limit gets an error that names the limit.

    Attributes:
        max_frame_bytes: bytes of one encoded frame or picture.
        max_frame_pixels: width times height of one decoded frame; its header is checked before it is decoded.
        max_streams: streams open at the same time.
        max_openings_per_s: streams per second that one token, or one host if there are no tokens, may open in the long
            run; after a pause, `max_streams` at once. Further ones wait.
        max_queries_per_s: questions per second that it may ask in the long run (GetServerInfo, health checks and the
            like), and likewise pictures, or openings of streams, that may fail; after a pause, those of five seconds at
            once. Further ones wait.
        max_pictures: single pictures (EstimatePoses) in progress at the same time.
        max_people: people estimated per frame, and boxes that a caller may give with it.
        max_inbox: waiting frames per stream under DROP_POLICY_ALL. Under DROP_POLICY_LATEST one picture waits; access
            units of a video codec, which must all be decoded, may wait for half a second, more of them than this for no
            longer than the stream's `max_age_ms`, if they are not larger than this many frames of `max_frame_bytes`.
        max_fps: frames per second that are read from one stream under DROP_POLICY_LATEST, where more would only
            supersede each other; a client that sends more is held back.
        max_stream_s: a stream that has been open for this long is drained, so that its client resumes it; 0: never.
        max_idle_s: a stream that has received no frame for this long is drained likewise; 0: never.
        max_stall_s: a stream whose client has not read a response for this long is ended.
    """

    max_frame_bytes: int = 32 * 2**20
    max_frame_pixels: int = 4096 * 3072
    max_streams: int = 64
    max_openings_per_s: float = 5.0
    max_queries_per_s: float = 20.0
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
        check_range("limits.max_queries_per_s", self.max_queries_per_s, 0.1, 1e6)
        check_range("limits.max_pictures", self.max_pictures, 1, 10_000)
        check_range("limits.max_people", self.max_people, 1, MOST_PEOPLE)
        check_range("limits.max_inbox", self.max_inbox, 1, 1000)
        check_range("limits.max_fps", self.max_fps, 1, 1e6)
        check_range("limits.max_stream_s", self.max_stream_s, 0, 1e9)
        check_range("limits.max_idle_s", self.max_idle_s, 0, 1e9)
        check_range("limits.max_stall_s", self.max_stall_s, 0.1, 1e6)


@dataclass(frozen=True, kw_only=True)
class SecurityConfig:
    """Authentication and encryption.

    Attributes:
        tls_cert: PEM file with the server's certificate chain; None: no TLS.
        tls_key: PEM file with its private key.
        client_ca: PEM file with the authorities that must have signed client certificates (mutual TLS); None: clients
            need no certificate.
        tokens: file with the hashes of accepted tokens, see `admission.tokens`; None: no token is needed.
        insecure: allow listening beyond this machine without tokens or TLS.
    """

    tls_cert: Path | None = None
    tls_key: Path | None = None
    client_ca: Path | None = None
    tokens: Path | None = None
    insecure: bool = False

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("only one of tls_cert and tls_key is given; give both for TLS, or neither")
        if self.client_ca is not None and self.tls_cert is None:
            raise ValueError("client_ca is given without TLS; give tls_cert and tls_key too")

    @property
    def tls(self) -> bool:
        """Whether connections are encrypted."""
        return self.tls_cert is not None


@dataclass(frozen=True, kw_only=True)
class StageBatchingConfig:
    """How requests of all streams are batched for one stage of inference.

    Attributes:
        max_batch: items (frames, pairs of frames, or people) per batch; 0: chosen for the stage and the device, see
            `BatchingConfig.on`.
        max_wait_ms: how long the oldest request may wait for others that are about to come. A lone request never waits.
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
        """The same, with sizes of 0 filled in for a device of this type: `cpu` or `cuda`.

        A GPU processes a full batch in little more time than a single frame. There, batches of frames grow to the
        largest size that has a CUDA graph, batches of people to four times that. On a CPU, sixteen people take twice as
        long as eight, and the frames of all streams wait meanwhile.
        """
        frames, people = (8, 16) if device == "cpu" else (32, 128)

        def up_to(most: int, stage: StageBatchingConfig) -> StageBatchingConfig:
            return replace(stage, max_batch=stage.max_batch or most)

        return BatchingConfig(
            detect=up_to(frames, self.detect), flow=up_to(frames, self.flow), pose=up_to(people, self.pose)
        )


@dataclass(frozen=True, kw_only=True)
class ServerConfig:
    """All settings of the server.

    Attributes:
        host: address to listen on; the default is reachable from this machine only.
        port: port to listen on; 0: any free one.
        bundle: name or folder of the bundle of networks.
        detector: `auto` (the bundle's for the device if it has one, else none), or a detector specification, e.g.
            `bundle` or `onnx:PATH`.
        flow: `auto` (the bundle's own, for the device), or a flow specification, e.g. `dis`.
        device: `auto`, `cpu`, `cuda`, `cuda:N`.
        runtime: what runs the networks: torch, openvino (on a CPU), cuda-graphs (on a GPU), or auto: cuda-graphs on a
            GPU; on a CPU, openvino if it is installed.
        precision: of the networks: float32, float16, bfloat16, or auto: float32 on a CPU, float16 on a GPU.
        flip_test: whether to average with the poses of mirrored crops, at twice the cost; None: as the bundle does.
        jpeg_decoder: JPEG decoder: cpu, gpu, or auto, whichever is faster at startup.
        video_decoder: H.264 and H.265 decoder, likewise.
        threads: threads of each network on the CPU; 0: chosen by the libraries, at most one per usable core.
        decode_threads: threads for decoding frames; 0: half the usable cores.
        log_level: minimum severity of log messages.
        log_format: `auto`, `human` or `json`.
        drain_grace_s: how long streams may take to finish when the server is told to stop.
        resume_key: file with the secret that signs resume tokens, the same on servers that continue each other's
            streams; created if missing. None: one in the user's state directory.
        resume_lifetime_s: how long a resume token is accepted.
        metrics_port: port for Prometheus metrics over HTTP; 0: none.
        metrics_host: address for Prometheus metrics; the default is reachable from this machine only.
        traces: OpenTelemetry collector for traces of frames, e.g. `http://localhost:4317`; empty: none.
        traces_share: share of frames to trace, 0..1.
        record: folder to record every stream in, requests and results; None: no recording.
        record_max_mb: maximum size of all recordings in it; the oldest are deleted.
        port_file: file to write the bound port to once the server accepts calls.
        exit_on_stdin_eof: stop at the end of standard input, for example when the program that started the server ends.
        security: authentication and encryption.
        limits: what the server accepts.
        batching: how requests are batched.
        tracker: defaults for tracker settings that a stream leaves out.

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
    flip_test: bool | None = None
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
        if self.host.startswith("["):
            raise ValueError(f"host is {self.host}; write an IPv6 address without brackets, e.g. ::1")
        for name in ("bundle", "detector", "flow", "device"):
            if not getattr(self, name):
                raise ValueError(f"{name} is empty; leave it out for the default")
        for name, known in _KNOWN.items():
            if getattr(self, name) not in known:
                raise ValueError(f"{name} is {getattr(self, name)!r}; use {', '.join(known)}")
        if not DEVICE.fullmatch(self.device):
            raise ValueError(f"device is {self.device!r}; use auto, cpu, cuda or cuda:N")
        parse_detector_spec(self.detector)
        parse_flow_spec(self.flow)
        if not (self.is_local or self.security.tls or self.security.tokens or self.security.insecure):
            raise ValueError(
                f"host is {self.host}: other machines could connect, and anybody there could use this server and watch "
                "its streams. Give tokens (--tokens FILE, made with `posewire token`), TLS (--tls-cert FILE --tls-key "
                "FILE), preferably both; or use --insecure if everybody in that network may"
            )
        check_range("port", self.port, 0, 65535)
        check_range("metrics_port", self.metrics_port, 0, 65535)
        check_range("traces_share", self.traces_share, 0.0, 1.0)
        if self.traces and not re.match(r"https?://[^/?#\s]", self.traces):
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
        """Whether only this machine can connect. Host names other than `localhost` may resolve to anything."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    @property
    def decoding_thread_count(self) -> int:
        """Number of threads that decode frames."""
        return self.decode_threads or max(1, usable_cores() // 2)
