"""Dashboard and alerts ask for what the server exports; docker/prove.sh asks a real Prometheus."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import yaml
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from posewire_server.config import ServerConfig
from posewire_server.observability import gauges as readings
from posewire_server.server import PoseServer
from tests.deployment.compose_files import COMPOSE, ROOT, environment, read
from tests.server.stand_ins import networks

PROMETHEUS = ROOT / "docker" / "prometheus"
GRAFANA = ROOT / "docker" / "grafana"
DASHBOARD = json.loads((GRAFANA / "dashboards" / "posewire.json").read_text(encoding="utf-8"))
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
RULES = [
    rule
    for file in sorted((PROMETHEUS / "rules").glob("*.yml"))
    for group in yaml.safe_load(file.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
QUERIES = [
    *((panel["title"], target["expr"]) for panel in PANELS for target in panel["targets"]),
    *((rule["alert"], rule["expr"]) for rule in RULES),
]

Exported: TypeAlias = "dict[str, dict[str, set[str]]]"

_SELECTOR = re.compile(r"\b((?:posewire|process)_\w+)(?:\{([^}]*)\})?")
_MATCHER = re.compile(r'(\w+)(=~|!=|=)"([^"]*)"')
# Given by Prometheus to everything.
_ITS_OWN = {"job", "instance"}


@pytest.fixture(scope="module")
def exported() -> Exported:
    """Every sample that a server on a GPU exports: its labels, and their values."""
    text = asyncio.run(_exported_text())
    samples: Exported = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = samples.setdefault(sample.name, {})
            for label, value in sample.labels.items():
                labels.setdefault(label, set()).add(value)
    return samples


async def _exported_text() -> str:
    with pytest.MonkeyPatch.context() as patch:
        memory = [("allocated", 1.0), ("reserved", 2.0), ("used", 3.0), ("total", 4.0)]
        patch.setattr(readings, "_device_memory", lambda device: memory)
        on_gpu = dataclasses.replace(networks(), device="cuda:0 (stand-in)")
        server = await PoseServer.start(ServerConfig(port=0), on_gpu)
        try:
            return generate_latest(server.metrics.registry).decode()
        finally:
            await server.stop()


@pytest.mark.parametrize(("where", "expression"), QUERIES, ids=[where for where, _ in QUERIES])
def test_queries_ask_for_what_is_exported(where: str, expression: str, exported: Exported) -> None:
    for name, matchers in _SELECTOR.findall(expression):
        assert name in exported, f"{where}: there is no {name}"
        for label, how, value in _MATCHER.findall(matchers):
            if label not in _ITS_OWN:
                assert label in exported[name], f"{where}: {name} has no label {label}"
                assert how == "=~" or value in exported[name][label], f"{where}: {name} has no {label}={value!r}"
    labels = {label for name, _ in _SELECTOR.findall(expression) for label in exported[name]} | _ITS_OWN
    for group in re.findall(r"\b(?:by|on) \(([^)]*)\)", expression):
        assert {label.strip() for label in group.split(",")} <= labels, f"{where}: {group}"


def test_nothing_that_is_exported_is_left_out(exported: Exported) -> None:
    asked = {name for _, expression in QUERIES for name, _ in _SELECTOR.findall(expression)}
    families = {re.sub("_(bucket|count|sum|total|created)$", "", name) for name in exported}
    assert {name for name in families if name.startswith("posewire")} == {
        re.sub("_(bucket|count|sum|total)$", "", name) for name in asked if name.startswith("posewire")
    }


def test_shares_of_several_servers_do_not_add_up_to_more_than_one() -> None:
    shares = [panel for panel in PANELS if panel["fieldConfig"]["defaults"].get("unit") == "percentunit"]
    assert shares
    for panel in shares:
        for target in panel["targets"]:
            assert target["expr"].startswith("avg ") or " / " in target["expr"], panel["title"]


def test_prometheus_finds_the_servers_by_the_name_they_have() -> None:
    config = yaml.safe_load((PROMETHEUS / "prometheus.yml").read_text(encoding="utf-8"))
    jobs = {job["job_name"]: job["dns_sd_configs"][0] for job in config["scrape_configs"]}
    services = read(COMPOSE)["services"]
    assert jobs["posewire"]["names"] == services["server"]["networks"]["default"]["aliases"]
    assert str(jobs["posewire"]["port"]) == environment(services["server"])["POSEWIRE_SERVER_METRICS_PORT"]
    assert set(jobs["envoy"]["names"]) <= set(services)
    alert_jobs = {job for rule in RULES for job in re.findall(r'job="(\w+)"', rule["expr"])}
    assert alert_jobs <= set(jobs)


def test_alerts_say_what_to_do() -> None:
    assert len({rule["alert"] for rule in RULES}) == len(RULES)
    for rule in RULES:
        assert rule["labels"]["severity"] in ("warning", "critical")
        assert {"summary", "action"} <= set(rule["annotations"])


needs_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, which comes with Prometheus"
)


@needs_promtool
@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "config", PROMETHEUS / "prometheus.yml"),
        ("test", "rules", Path(__file__).parent / "alerts_test.yml"),
    ],
    ids=["configuration", "alerts"],
)
def test_promtool(arguments: tuple[str | Path, ...]) -> None:
    _run_promtool(*map(str, arguments))


def _run_promtool(*arguments: str) -> None:
    result = subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stdout + result.stderr


@needs_promtool
def test_where_no_server_is_left_counts_are_zero(tmp_path: Path) -> None:
    # The series of a server that is gone end. Panels show the newest value of a query in the last minutes, so it needs
    # one then: else the last good one would stand there.
    counts = ("Servers up", "Open streams", "Frames a second", "Failed frames a second")
    queries = [
        query.replace("$instance", ".+").replace("$__rate_interval", "1m")
        for where, query in QUERIES
        if where in counts
    ]
    assert len(queries) == len(counts)
    series = ['up{job="posewire", instance="a"}', 'posewire_open_streams{instance="a"}']
    test = {
        "interval": "5s",
        "input_series": [{"series": name, "values": "1x20 stale"} for name in series],
        "promql_expr_test": [
            {"expr": query, "eval_time": "10m", "exp_samples": [{"labels": "{}", "value": 0}]} for query in queries
        ],
    }
    (tmp_path / "test.yml").write_text(yaml.safe_dump({"tests": [test]}))
    _run_promtool("test", "rules", str(tmp_path / "test.yml"))


def test_panels_are_shown_side_by_side_and_have_names() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert len({panel["title"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(x, y) for x, y in _cells(place)}
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells


def _cells(place: dict[str, int]) -> Iterator[tuple[int, int]]:
    for x in range(place["x"], place["x"] + place["w"]):
        for y in range(place["y"], place["y"] + place["h"]):
            yield x, y


def test_grafana_is_provided_with_what_the_dashboard_uses() -> None:
    def provided(name: str) -> Any:
        return yaml.safe_load((GRAFANA / "provisioning" / name).read_text(encoding="utf-8"))

    (source,) = provided("datasources/prometheus.yaml")["datasources"]
    for panel in PANELS:
        for used in (panel["datasource"], *(target["datasource"] for target in panel["targets"])):
            assert used == {"type": source["type"], "uid": source["uid"]}
    services = read(COMPOSE)["services"]
    assert source["url"] == "http://prometheus:9090"
    mounts = {target: host for host, target, _ in (volume.split(":") for volume in services["grafana"]["volumes"][:2])}
    (provider,) = provided("dashboards/posewire.yaml")["providers"]
    assert mounts[provider["options"]["path"]] == "./docker/grafana/dashboards"
    assert mounts["/etc/grafana/provisioning"] == "./docker/grafana/provisioning"
    home = environment(services["grafana"])["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/posewire.json"
