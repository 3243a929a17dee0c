"""Metrics for Prometheus. Each server has its own registry.

A frame is counted after its result has been sent, so counting delays nobody. No label has values that clients choose.
"""

from __future__ import annotations

import logging
import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import StrEnum
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from posewire.os_errors import reason_of
from posewire.v1 import pose_pb2
from posewire_server.configuration import ConfigError
from posewire_server.errors import FrameError, ServiceError
from posewire_server.inference.batching import BatchReport
from posewire_server.observability.histogram import Histogram, histograms
from posewire_server.streams.inbox import DropPolicy, DropReason
from posewire_server.wire.status import error_reason

__all__ = ["Metrics", "MetricsExporter", "StreamEnding"]

log = logging.getLogger(__name__)

_STAGES = ("queue", "decode", "detect", "flow", "pose", "track", "total")
_NETWORKS = ("detect", "flow", "pose")
_SECONDS = (0.0005, 0.001, 0.002, 0.004, 0.008, 0.015, 0.03, 0.06, 0.12, 0.25, 0.5, 1.0, 2.0, 5.0)
_ITEMS = (1, 2, 4, 8, 16, 32, 64, 128)
_PEOPLE = (0, 1, 2, 3, 5, 8, 13, 20, 35, 50, 100)

_Readings: TypeAlias = "Callable[[], Iterable[tuple[str, float]]]"


class StreamEnding(StrEnum):
    """How a stream ended."""

    IN_ORDER = "in-order"
    REFUSED = "refused"
    """With an error that was sent to the client."""
    BROKEN_OFF = "broken-off"
    """Abruptly: the client or its connection is gone, gRPC itself rejected a message, or the server failed."""


class Metrics:
    """All metrics of one server.

    Attributes:
        registry: exports them.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        stages = self._histograms(
            *("frame_seconds", "Time of a tracked frame in each stage; total: request to response.", _SECONDS),
            stage=_STAGES,
            # If no frame is dropped, the client decides how many wait, and thus how long.
            policy=tuple(DropPolicy),
        )
        self._stages = {policy: [(f"{stage}_ms", stages[stage, policy]) for stage in _STAGES] for policy in DropPolicy}
        self._tracked = self._counter("frames_tracked", "Frames tracked.")
        self._dropped = self._counter("frames_dropped", "Frames dropped.", "reason")
        self._failed = self._counter("frames_failed", "Frames that failed.", "reason")
        self._abandoned = self._counter("frames_abandoned", "Frames in flight when their stream ended early.")
        self._people = self._histograms("people_per_frame", "People in a tracked frame.", _PEOPLE)[()]
        self._identities = self._counter("identities", "Track ids given out.")
        self._closed = self._counter("streams_closed", "Streams that ended.", "ending")
        self._pictures = self._counter("pictures", "Single pictures answered.")
        self._resumes = self._counter("resumes", "Streams that asked to continue an earlier one.", "outcome")
        self._refused = self._counter("calls_refused", "Calls that ended with an error.", "reason")
        self._batch_items = self._histograms(
            "batch_items", "Frames, or people, that went through a network together.", _ITEMS, stage=_NETWORKS
        )
        self._batch_seconds = self._histograms(
            "batch_seconds", "Time of a batch in its network.", _SECONDS, stage=_NETWORKS
        )
        self._batch_failures = self._counter("batch_failures", "Batches that failed.", "stage")
        for counter, values in (
            (self._batch_failures, _NETWORKS),
            (self._dropped, DropReason),
            (self._failed, _reasons(FrameError)),
            (self._refused, (*_reasons(ServiceError), "internal")),
            (self._resumes, ("resumed", "refused")),
            (self._closed, StreamEnding),
        ):
            for value in values:
                counter.labels(value)  # exported from the start, so that the first event shows as an increase
        ProcessCollector(registry=self.registry)

    def describe(self, **facts: str) -> None:
        """Export facts about the server that do not change."""
        labels = facts | {"python": platform.python_version()}
        server = Gauge("posewire_server", "What this server runs; always 1.", list(labels), registry=self.registry)
        server.labels(**labels).set(1)

    def read_when_asked(self, name: str, text: str, label: str, readings: _Readings) -> None:
        """Add a gauge that is read when it is exported, on a thread of the exporter.

        Args:
            name: of the metric.
            text: its help text.
            label: its label; empty for none.
            readings: returns pairs of a label value and a gauge value.
        """
        self.registry.register(_Readable(name, text, label, readings))

    def frame_tracked(self, times: pose_pb2.Timings, policy: DropPolicy, people: int, births: int) -> None:
        """Count a frame whose result has been sent, in a stream with this policy."""
        self._tracked.inc()
        self._people.observe(people)
        if births:
            self._identities.inc(births)
        for name, histogram in self._stages[policy]:
            if ms := getattr(times, name):  # 0: the stage did not run
                histogram.observe(ms / 1e3)

    def frame_dropped(self, reason: DropReason) -> None:
        """Count a dropped frame."""
        self._dropped.labels(reason).inc()

    def frame_failed(self, reason: str) -> None:
        """Count a failed frame; `reason` as in google.rpc.ErrorInfo."""
        self._failed.labels(_label(reason)).inc()

    def frames_abandoned(self, count: int) -> None:
        """Add `count` frames that were in flight when their stream ended early."""
        self._abandoned.inc(count)

    def stream_closed(self, ending: StreamEnding) -> None:
        """Count a stream that ended."""
        self._closed.labels(ending).inc()

    def picture_answered(self) -> None:
        """Count an answered single picture."""
        self._pictures.inc()

    def resumed(self, *, refused: bool) -> None:
        """Count a stream that asked to continue an earlier one."""
        self._resumes.labels("refused" if refused else "resumed").inc()

    def call_refused(self, reason: str) -> None:
        """Count a call that ended with an error; `reason` as in google.rpc.ErrorInfo."""
        self._refused.labels(_label(reason)).inc()

    def batch_done(self, report: BatchReport) -> None:
        """Count a batch that has passed through its network, or failed in it."""
        if report.error is not None:
            self._batch_failures.labels(report.stage).inc()
        else:
            self._batch_items[report.stage,].observe(report.weight)
            self._batch_seconds[report.stage,].observe(report.ran_ms / 1e3)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"posewire_{name}", text, labels, registry=self.registry)

    def _histograms(
        self, name: str, text: str, bounds: Sequence[float], **labels: Sequence[str]
    ) -> dict[tuple[str, ...], Histogram]:
        return histograms(self.registry, f"posewire_{name}", text, bounds, **labels)


def _label(reason: str) -> str:
    """A reason as the SDK spells it: `too-large` for TOO_LARGE."""
    return reason.lower().replace("_", "-")


def _reasons(kind: type[ServiceError]) -> list[str]:
    """The reasons of all errors of a kind."""
    below = kind.__subclasses__()
    return [reason for each in below for reason in _reasons(each)] if below else [_label(error_reason(kind("")))]


class _Readable(Collector):
    def __init__(self, name: str, text: str, label: str, readings: _Readings) -> None:
        self._name, self._text, self._label, self._readings = name, text, label, readings

    def describe(self) -> Iterable[Metric]:
        """Called at registration: reads nothing."""
        return [GaugeMetricFamily(self._name, self._text)]

    def collect(self) -> Iterator[Metric]:
        """See `Collector`. If it cannot be read, the other metrics are exported without it."""
        family = GaugeMetricFamily(self._name, self._text, labels=[self._label] if self._label else [])
        try:
            for value, reading in self._readings():
                family.add_metric([value] if self._label else [], reading)
        except Exception as error:  # noqa: BLE001  a GPU that has failed gives no numbers either
            log.warning("the metric %s cannot be read: %s", self._name, error)
            return
        yield family


class MetricsExporter:
    """Serves the metrics over HTTP, at /metrics, on a thread of its own.

    Raises:
        ConfigError: it cannot listen on this address.
    """

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        try:
            self._server, self._thread = start_http_server(port, host, metrics.registry)
        except OSError as error:
            raise ConfigError(
                f"cannot serve metrics on {host}:{port}: {reason_of(error)}; choose another --metrics-port, "
                "or another --metrics-host"
            ) from error

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
