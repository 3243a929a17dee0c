from __future__ import annotations

import pytest
from prometheus_client import generate_latest

from posewire.v1 import pose_pb2
from posewire_server import errors
from posewire_server.configuration import ConfigError
from posewire_server.errors import FrameError
from posewire_server.inference.batching import BatchReport
from posewire_server.observability.metrics import Metrics, MetricsExporter
from posewire_server.streams.inbox import DropPolicy, DropReason
from posewire_server.wire.status import error_reason


def _value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"posewire_{name}", labels)


def test_a_frame_is_counted_in_the_stages_that_ran() -> None:
    metrics = Metrics()
    metrics.frame_tracked(pose_pb2.Timings(decode_ms=5, pose_ms=70, total_ms=90), DropPolicy.LATEST, people=3, births=2)
    metrics.frame_tracked(pose_pb2.Timings(decode_ms=5, pose_ms=20, total_ms=30), DropPolicy.LATEST, people=0, births=0)
    assert _value(metrics, "frames_tracked_total") == 2
    assert _value(metrics, "frame_seconds_count", stage="pose", policy="latest") == 2
    assert _value(metrics, "frame_seconds_sum", stage="pose", policy="latest") == pytest.approx(0.09)
    assert _value(metrics, "frame_seconds_bucket", stage="pose", policy="latest", le="0.03") == 1
    assert _value(metrics, "frame_seconds_count", stage="detect", policy="latest") == 0
    assert _value(metrics, "frame_seconds_count", stage="pose", policy="all") == 0
    assert _value(metrics, "people_per_frame_sum") == 3
    assert _value(metrics, "identities_total") == 2


def test_drops_and_failures_by_reason() -> None:
    metrics = Metrics()
    metrics.frame_dropped(DropReason.TOO_OLD)
    metrics.frame_failed("UNDECODABLE")
    metrics.call_refused("LIMIT_REACHED")
    metrics.resumed(refused=True)
    assert _value(metrics, "frames_dropped_total", reason="too-old") == 1
    assert _value(metrics, "frames_dropped_total", reason="superseded") == 0
    assert _value(metrics, "frames_failed_total", reason="undecodable") == 1
    assert _value(metrics, "calls_refused_total", reason="limit-reached") == 1
    assert _value(metrics, "resumes_total", outcome="refused") == 1
    assert _value(metrics, "resumes_total", outcome="resumed") == 0


def test_what_may_happen_is_there_before_it_does() -> None:
    metrics, kinds = Metrics(), [getattr(errors, name) for name in errors.__all__ if name != "DeviceLost"]
    reasons = {kind: error_reason(kind("")).lower().replace("_", "-") for kind in kinds if not kind.__subclasses__()}
    assert len(reasons) == len(kinds) - 2  # ServiceError and FrameError are never raised as such
    for kind, reason in reasons.items():
        assert _value(metrics, "calls_refused_total", reason=reason) == 0
        assert _value(metrics, "frames_failed_total", reason=reason) == (0 if issubclass(kind, FrameError) else None)
    assert _value(metrics, "calls_refused_total", reason="internal") == 0
    for drop in DropReason:
        assert _value(metrics, "frames_dropped_total", reason=drop) == 0


def test_batches() -> None:
    metrics = Metrics()
    metrics.batch_done(BatchReport("pose", weight=12, ran_ms=40, error=None))
    metrics.batch_done(BatchReport("pose", weight=3, ran_ms=1, error=RuntimeError()))
    assert _value(metrics, "batch_items_sum", stage="pose") == 12
    assert _value(metrics, "batch_seconds_count", stage="pose") == 1
    assert _value(metrics, "batch_failures_total", stage="pose") == 1
    assert _value(metrics, "batch_failures_total", stage="flow") == 0


def test_gauges_are_read_when_they_are_asked_for() -> None:
    metrics, waiting = Metrics(), {"pose": 1}
    metrics.read_when_asked("posewire_waiting", "Waiting.", "stage", waiting.items)
    assert _value(metrics, "waiting", stage="pose") == 1
    waiting["pose"] = 7
    assert _value(metrics, "waiting", stage="pose") == 7


def test_a_gauge_that_cannot_be_read_hides_no_other(caplog: pytest.LogCaptureFixture) -> None:
    def fail() -> list[tuple[str, float]]:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    metrics = Metrics()
    metrics.read_when_asked("posewire_device_memory_bytes", "Memory.", "kind", fail)
    exported = generate_latest(metrics.registry).decode()
    assert "posewire_frames_tracked_total" in exported
    assert "device_memory" not in exported
    assert "posewire_device_memory_bytes cannot be read: CUDA error" in caplog.text


def test_every_server_counts_for_itself() -> None:
    first, second = Metrics(), Metrics()
    first.picture_answered()
    assert _value(second, "pictures_total") == 0


def test_an_address_that_metrics_cannot_have_is_told_with_both_flags() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:9464: .*--metrics-port, or another --metrics-host"):
        MetricsExporter(Metrics(), "192.0.2.1", 9464)  # no machine's: it is for documentation
