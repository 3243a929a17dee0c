from __future__ import annotations

import sys
import threading
from collections.abc import Sequence

import numpy as np
import pytest
from google.protobuf import timestamp_pb2
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from posewire_models.frames import Frame
from posewire_server.configuration import ConfigError
from posewire_server.inference.outcomes import StageTimes, Tracked
from posewire_server.observability import tracing
from posewire_server.observability.tracing import FrameTracer, otlp_exporter
from posewire_server.streams.outbox import FrameId
from posewire_server.streams.waiting_frames import ReadyFrame
from posewire_server.tracking import Boxes, TrackedPeople


def _frame() -> tuple[ReadyFrame, Tracked]:
    pixels = np.zeros((48, 64, 3), np.uint8)
    ready = ReadyFrame(FrameId(7, timestamp_pb2.Timestamp()), Frame(pixels), None, 100.0, queue_ms=2.0, decode_ms=5.0)
    times = StageTimes(spans=[("detect", 100.01, 20.0), ("flow", 100.01, 8.0), ("pose", 100.03, 30.0)])
    people = TrackedPeople.without_ids(Boxes.empty(), np.zeros((0, 17, 3), np.float32), 0.4)
    return ready, Tracked(people, times, detector_ran=True, detect_every=1)


def test_the_way_of_a_frame() -> None:
    exporter = InMemorySpanExporter()
    tracer = FrameTracer(exporter, share=1.0)
    tracer.frame_done("abc", *_frame())
    tracer.close()
    spans = {span.name: span for span in exporter.get_finished_spans()}
    assert spans.keys() == {"frame", "queue", "decode", "detect", "flow", "pose"}
    frame = spans.pop("frame")
    assert frame.parent is None
    assert dict(frame.attributes or {}) == {
        "posewire.stream": "abc",
        "posewire.frame": 7,
        "posewire.people": 0,
        "posewire.detector_ran": True,
    }
    after_ms = {}
    for name, span in spans.items():
        assert span.parent is not None
        assert span.parent.span_id == frame.context.span_id
        after_ms[name] = [(moment - frame.start_time) / 1e6 for moment in (span.start_time, span.end_time)]
    assert after_ms["queue"] == pytest.approx([0, 2], abs=0.1)
    assert after_ms["decode"] == pytest.approx([2, 7], abs=0.1)
    assert after_ms["pose"] == pytest.approx([30, 60], abs=5)  # between two clocks
    assert after_ms["detect"][1] - after_ms["detect"][0] == pytest.approx(20, abs=0.1)


def test_a_share_of_the_frames_is_traced() -> None:
    exporter = InMemorySpanExporter()
    chances = iter([0.05, 0.1, 0.5, 0.0])
    tracer = FrameTracer(exporter, share=0.1, chance=lambda: next(chances))
    for _ in range(4):
        tracer.frame_done("abc", *_frame())
    tracer.close()
    assert sum(span.name == "frame" for span in exporter.get_finished_spans()) == 2


def test_a_collector_that_is_gone_holds_up_no_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tracing, "_LAST_SPANS_S", 0.1)
    ended, given_up = threading.Event(), threading.Event()

    class Retrying(InMemorySpanExporter):
        def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
            if ended.wait(20):
                given_up.set()
            return SpanExportResult.FAILURE

        def shutdown(self) -> None:
            ended.set()

    tracer = FrameTracer(Retrying(), share=1.0)
    tracer.frame_done("abc", *_frame())
    tracer.close()
    assert given_up.wait(20)


def test_without_the_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", None)
    with pytest.raises(ConfigError, match=r"pip install 'posewire\[otel\]'"):
        otlp_exporter("http://localhost:4317")
