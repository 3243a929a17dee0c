"""The stages of single frames as OpenTelemetry spans. Optional and sampled.

Spans are created when their frame is done, from times that are measured anyway.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from posewire_server.configuration import ConfigError
from posewire_server.inference.outcomes import Tracked
from posewire_server.streams.waiting_frames import ReadyFrame

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["FrameTracer", "otlp_exporter"]

log = logging.getLogger(__name__)

_LAST_SPANS_S = 1.5


class FrameTracer:
    """Traces a share of the frames: a span `frame`, with the stages as its children.

    Args:
        exporter: sends the spans.
        share: of the frames to trace, 0..1.
        chance: returns a random number in 0..1 for each frame; a test's own.
    """

    def __init__(self, exporter: SpanExporter, share: float, chance: Callable[[], float] = random.random) -> None:
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        self._exporter = exporter
        self._provider = TracerProvider(resource=Resource.create({"service.name": "posewire"}))
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer("posewire_server")
        self._share = share
        self._chance = chance

    def frame_done(self, stream_id: str, ready: ReadyFrame, tracked: Tracked) -> None:
        """Trace a frame whose result has been sent, if it is sampled."""
        if self._chance() >= self._share:
            return
        from opentelemetry import trace

        since_epoch_s = time.time() - time.monotonic()

        def nanoseconds(moment_s: float) -> int:
            return int((moment_s + since_epoch_s) * 1e9)

        frame = self._tracer.start_span(
            "frame",
            start_time=nanoseconds(ready.arrived_s),
            attributes={
                "posewire.stream": stream_id,
                "posewire.frame": ready.frame_id.number,
                "posewire.people": len(tracked.people),
                "posewire.detector_ran": tracked.detector_ran,
            },
        )
        parent = trace.set_span_in_context(frame)
        for name, began_s, ms in _stages(ready, tracked):
            stage = self._tracer.start_span(name, parent, start_time=nanoseconds(began_s))
            stage.end(nanoseconds(began_s + ms / 1e3))
        frame.end(nanoseconds(time.monotonic()))

    def close(self) -> None:
        """Send the remaining spans, for at most 1.5 s: the exporter itself would retry for much longer."""
        ending = threading.Thread(target=self._provider.shutdown, name="posewire-traces", daemon=True)
        ending.start()
        ending.join(_LAST_SPANS_S)
        if ending.is_alive():
            log.warning("the last traces are lost: the collector does not accept them")
            self._exporter.shutdown()  # ends the export in progress


def otlp_exporter(endpoint: str) -> SpanExporter:
    """An exporter that sends spans to an OpenTelemetry collector.

    Args:
        endpoint: `http://HOST:4317`, or `https://` for TLS.

    Raises:
        ConfigError: the packages are not installed.
    """
    try:
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"traces need the package {error.name}; install it with: pip install 'posewire[otel]'"
        ) from error
    return OTLPSpanExporter(endpoint=endpoint, insecure=not endpoint.startswith("https://"))


def _stages(ready: ReadyFrame, tracked: Tracked) -> list[tuple[str, float, float]]:
    """Name, start on the clock of `time.monotonic`, and milliseconds of each stage that ran."""
    # `time.perf_counter` and `time.monotonic` are the same clock on Linux; elsewhere they differ by a constant.
    between_clocks_s = time.monotonic() - time.perf_counter()
    return [
        ("queue", ready.arrived_s, ready.queue_ms),
        ("decode", ready.arrived_s + ready.queue_ms / 1e3, ready.decode_ms),
        *((name, began_s + between_clocks_s, ms) for name, began_s, ms in tracked.times.spans),
    ]
