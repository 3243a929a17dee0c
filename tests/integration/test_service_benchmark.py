from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from posewire_benchmark.__main__ import app
from posewire_benchmark.credentials import can_make_credentials
from posewire_benchmark.service import report
from posewire_benchmark.service.measurements import tracker_cost
from posewire_benchmark.service.options import BenchmarkOptions
from posewire_benchmark.tables import TABLES
from posewire_server.config import ServerConfig


def test_a_small_benchmark_from_end_to_end(tmp_path: Path) -> None:
    # Three programs load the networks, but not the flow network, which takes longest.
    flags = "--flow dis --size 320x240 --people 1 --frames 20 --rounds 1 --memory-frames 20 --memory-streams 2"
    result = CliRunner().invoke(app, [*flags.split(), "--json", str(tmp_path / "figures.json")])
    assert result.exit_code == 0, result.output
    figures = json.loads((tmp_path / "figures.json").read_text())
    cost = figures["service_cost"]
    assert 0 < cost["decode_ms"] < cost["round_trip_ms"]
    assert 0 < cost["networks_ms"] < cost["round_trip_ms"]
    secured = figures["secured_cost"]
    assert (secured is not None) == can_make_credentials()
    assert secured is None or 0 < secured["service_ms"] < secured["round_trip_ms"]
    assert figures["throughput"]["ratio"] > 0
    assert figures["machine"]["cores"] >= 1
    assert figures["memory"]["streams"] == 2
    for words in ("cost per frame", "at least 0.85", "load at the start", "memory of the server", "bundle nano"):
        assert words in result.output
    for text in (result.output, TABLES["service"](figures)):
        assert "1 person, boxes from the caller" in text


def test_the_tracker_follows_everybody_while_it_is_measured() -> None:
    cost = tracker_cost(people=5, queue_length=3, frames=10)
    assert 0 < cost.median_ms <= cost.p95_ms


def test_what_waits_for_nothing_is_measured_where_ctrl_c_is_heeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event loop would only react to Ctrl-C seconds or minutes later."""

    def measured() -> None:
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        raise KeyboardInterrupt

    monkeypatch.setattr(report, "tracker_cost", measured)
    with pytest.raises(KeyboardInterrupt):
        report.run_benchmark(BenchmarkOptions(server=ServerConfig()))


@pytest.mark.parametrize("setting", [{"frames": 3}, {"people": 0}, {"width": 10}, {"rounds": 0}])
def test_options_out_of_range(setting: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must lie in"):
        BenchmarkOptions(server=ServerConfig(), **setting)  # type: ignore[arg-type]
