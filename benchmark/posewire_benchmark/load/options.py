"""Settings of a load."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import StrEnum

from posewire.cli.access import ServerAccess
from posewire_benchmark.clips import ClipOptions
from posewire_server.config import ServerConfig
from posewire_server.ranges import check_range
from posewire_server.streams.inbox import DropPolicy

__all__ = ["BoxesFrom", "LoadOptions"]

# What one process can send without being late; measured, with a safety margin.
_FPS_OF_A_GENERATOR = 400.0


class BoxesFrom(StrEnum):
    """Where the people's boxes come from."""

    CALLER = "caller"
    """Boxes are sent with the frames; no detector runs."""
    DETECTOR = "detector"
    """The server's detector finds them."""
    INJECTED = "injected"
    """The detector runs, but its results are replaced by `ClipOptions.people` people; private servers only."""


@dataclass(frozen=True, kw_only=True)
class LoadOptions:
    """A load and the server that carries it.

    Attributes:
        server: settings of a private server, or how a running one is reached.
        clip: what the frames show.
        streams: number of cameras.
        fps: frames per second of each.
        seconds: duration of the measurement.
        warm_up_s: duration of the load before that.
        boxes: where the people's boxes come from.
        drop_policy: of the streams.
        detect_every: the detector runs on every n-th frame; None: the server's default.
        max_detect_every: how far the server may raise `detect_every`; 0: not at all.
        generators: number of processes that send; 0: as many as the load needs.
        max_lateness_ms: a measurement is not valid if the 99th percentile of the generators' lateness exceeds this.
        metrics_url: Prometheus metrics of a running server; empty: their figures are left out.
        random_weights: run the bundle's architectures with random weights, to measure speed without the published
            ones.
        without_networks: the private server's networks take no time, to measure what else limits it; people are
            injected.
        servers: number of private servers; the streams are dealt to them in turn.

    Raises:
        ValueError: a value is out of range, or two contradict each other.
    """

    server: ServerConfig | ServerAccess = field(default_factory=lambda: ServerConfig(detector="none"))
    clip: ClipOptions = field(default_factory=ClipOptions)
    streams: int = 1
    fps: float = 30.0
    seconds: float = 10.0
    warm_up_s: float = 3.0
    boxes: BoxesFrom = BoxesFrom.CALLER
    drop_policy: DropPolicy = DropPolicy.LATEST
    detect_every: int | None = None
    max_detect_every: int = 0
    generators: int = 0
    max_lateness_ms: float = 10.0
    metrics_url: str = ""
    random_weights: bool = False
    without_networks: bool = False
    servers: int = 1

    def __post_init__(self) -> None:
        for name, low, high in (
            ("streams", 1, 5000),
            ("fps", 0.1, 10_000.0),
            ("seconds", 0.2, 86_400.0),
            ("warm_up_s", 0.0, 3600.0),
            ("detect_every", 1, 1000),
            ("max_detect_every", 0, 1000),
            ("generators", 0, 256),
            ("servers", 1, 64),
            ("max_lateness_ms", 0.1, 10_000.0),
        ):
            value = getattr(self, name)
            if value is not None:
                check_range(name, value, low, high)
        if isinstance(self.server, ServerAccess):
            if self.boxes is BoxesFrom.INJECTED:
                raise ValueError("people can be injected into a private server only; leave --server or --inject out")
            if self.random_weights:
                raise ValueError("random weights are for a private server; leave --server or --random-weights out")
            if self.without_networks:
                raise ValueError("a running server has networks; leave --server or --without-networks out")
            if self.servers > 1:
                raise ValueError("only private servers are started several times; leave --server or --servers out")
        elif self.without_networks:
            if self.boxes is not BoxesFrom.INJECTED:
                raise ValueError("without networks nobody is found; let people be injected")
        elif self.boxes is not BoxesFrom.CALLER and self.server.detector == "none":
            raise ValueError(f"boxes come from the {self.boxes.value}, but detector is none; name a detector")

    def generators_for(self, streams: int, fps: float) -> int:
        """Number of processes that send this many streams."""
        return min(streams, self.generators or math.ceil(streams * fps / _FPS_OF_A_GENERATOR))
