from __future__ import annotations

import copy
import json
import re
from importlib import metadata, resources
from pathlib import Path
from typing import Any

import pytest
import yaml

from posewire_server.config import DEFAULT_PORT, ServerConfig
from posewire_server.configuration import ENVIRONMENT_PREFIX, load_config, setting_names
from posewire_server.recording.recorder import _LAST_WRITING_S
from posewire_server.server import _CUT_OFF_S, _LAST_WORDS_S
from posewire_server.workers import _LAST_WORK_S
from tests.deployment.compose_files import (
    COMPOSE,
    PROFILES,
    ROOT,
    SECURE,
    environment,
    extended,
    read,
    running,
    secured,
)

PLAIN, SECURED = read(COMPOSE), secured()
GUIDE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
SERVERS = {"gpu": "server", "cpu": "server-cpu", "scale": "servers", "scale-cpu": "servers-cpu"}


def _settings(service: dict[str, Any]) -> ServerConfig:
    """What the server makes of its environment; raises if it would refuse to start."""
    return load_config(environment=environment(service))


@pytest.mark.parametrize("compose", [PLAIN, read(SECURE), SECURED], ids=["plain", "secure", "both"])
def test_the_compose_specification_allows_it(compose: dict[str, Any]) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    pytest.importorskip("check_jsonschema", reason="needs the schema of the Compose Specification that it brings")
    file = resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(file.read_text(encoding="utf-8"))
    validator = jsonschema.validators.validator_for(schema)(schema)  # of its own draft: others pass over its rules
    errors = [f"{'/'.join(map(str, error.path))}: {error.message[:200]}" for error in validator.iter_errors(compose)]
    assert not errors
    wrong = copy.deepcopy(compose)
    wrong["services"]["server"]["read_onli"] = True
    assert not validator.is_valid(wrong)


def test_plain_up_takes_the_gpu() -> None:
    lines = (ROOT / ".env").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == ["COMPOSE_PROFILES=gpu"]


@pytest.mark.parametrize("profile", PROFILES)
def test_each_profile_has_one_kind_of_server(profile: str) -> None:
    services = running(PLAIN, profile)
    front = {"envoy"} if profile.startswith("scale") else set()
    assert set(services) == {SERVERS[profile], "prometheus", "grafana"} | front


@pytest.mark.parametrize("compose", [PLAIN, SECURED], ids=["plain", "secure"])
@pytest.mark.parametrize("server", SERVERS.values())
def test_the_server_starts_with_these_settings(compose: dict[str, Any], server: str) -> None:
    config = _settings(compose["services"][server])
    assert not config.is_local, "from outside its container nobody would reach it"
    assert config.port == DEFAULT_PORT
    assert config.metrics_host == config.host


@pytest.mark.parametrize("server", SERVERS.values())
def test_beyond_this_machine_only_with_tokens_and_tls(server: str) -> None:
    plain, secure = PLAIN["services"][server], SECURED["services"][server]
    assert _settings(plain).security.insecure
    config = _settings(secure)
    assert not config.security.insecure
    assert config.security.tokens == Path("/run/secrets/tokens")
    # Behind Envoy, that one has the certificate.
    assert config.security.tls == ("ports" in secure)
    assert config.resume_key is not None
    files = [config.security.tokens, config.resume_key, config.security.tls_cert, config.security.tls_key]
    assert [file.name for file in files if file] == secure["secrets"]


@pytest.mark.parametrize("profile", PROFILES)
def test_ports_are_for_this_machine_unless_there_are_tokens(profile: str) -> None:
    plain = [port for service in running(PLAIN, profile).values() for port in service.get("ports", ())]
    assert all(port.startswith("127.0.0.1:") for port in plain)
    secure = [port for service in running(SECURED, profile).values() for port in service.get("ports", ())]
    assert [port for port in secure if not port.startswith("127.0.0.1:")] == [f"{DEFAULT_PORT}:{DEFAULT_PORT}"]


def test_every_secret_is_declared_and_ignored_by_git() -> None:
    used = {secret for service in SECURED["services"].values() for secret in service.get("secrets", ())}
    assert used == set(SECURED["secrets"])
    folders = {Path(secret["file"]).parts[0] for secret in SECURED["secrets"].values()}
    assert folders == {"secrets"}
    assert "/secrets/" in (ROOT / ".gitignore").read_text(encoding="utf-8").splitlines()


@pytest.mark.parametrize("server", SERVERS.values())
def test_servers_have_no_more_rights_than_they_need(server: str) -> None:
    service = PLAIN["services"][server]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert "user" not in service  # the image's own, which is not root


def test_each_reader_of_a_secret_can_read_it() -> None:
    # The guide gives all of them to user 10001, as whom servers and Envoy run.
    others = [
        secret
        for name, service in SECURED["services"].items()
        if name not in SERVERS.values() and service.get("user") != "10001:10001"
        for secret in service.get("secrets", ())
    ]
    assert others
    for secret in others:
        assert f"chmod 644 {SECURED['secrets'][secret]['file'].removeprefix('./')}" in GUIDE


def test_servers_on_further_gpus_are_as_open_as_the_others() -> None:
    blocks = re.findall(r"```yaml\n(.*?)```", GUIDE, re.DOTALL)
    overrides = [yaml.safe_load(block) for block in blocks if "extends" in block]
    for compose, override in zip((PLAIN, SECURED), overrides, strict=True):
        ((_, service),) = override["services"].items()
        # compose does not look for it in other files than the one that is named, nor for more of it.
        assert service["extends"] == {"file": COMPOSE.name, "service": "servers"}
        made, model = extended(PLAIN, service), compose["services"]["servers"]
        assert environment(made).pop("POSEWIRE_SERVER_DEVICE") == "cuda:1"
        assert environment(model).items() <= environment(made).items()
        assert made.get("secrets") == model.get("secrets")
        assert made["profiles"] == model["profiles"]


def test_servers_continue_each_others_streams() -> None:
    volumes = {tuple(PLAIN["services"][server]["volumes"]) for server in SERVERS.values()}
    assert len(volumes) == 1
    assert "state:/var/lib/posewire" in volumes.pop()  # with the resume key, see test_image.py


@pytest.mark.parametrize("server", SERVERS.values())
def test_only_servers_with_cuda_ask_for_a_gpu(server: str) -> None:
    service = PLAIN["services"][server]
    cuda = service["build"]["args"]["VARIANT"] == "cuda"
    assert cuda == (not server.endswith("cpu")) == ("resources" in service.get("deploy", {}))
    assert service["image"].endswith("-cuda" if cuda else "-cpu")


def test_images_have_the_version_of_the_project() -> None:
    for server in SERVERS.values():
        assert PLAIN["services"][server]["image"].startswith(f"posewire-server:{metadata.version('posewire')}-")


@pytest.mark.parametrize("server", SERVERS.values())
def test_a_server_is_killed_only_after_all_that_it_waits_for(server: str) -> None:
    service = PLAIN["services"][server]
    drain_s = _settings(service).drain_grace_s
    beyond_s = _LAST_WORDS_S + _CUT_OFF_S + _LAST_WORK_S + _LAST_WRITING_S
    assert float(service["stop_grace_period"].removesuffix("s")) > drain_s + beyond_s + 5.0  # to end, on a busy machine
    (advised_s,) = re.findall(r"`POSEWIRE_STOP_GRACE` to (\d+) s more", GUIDE)
    assert float(advised_s) > beyond_s


@pytest.mark.parametrize("server", SERVERS.values())
def test_a_server_is_not_process_1(server: str) -> None:
    assert PLAIN["services"][server]["init"] is True
    runs = re.findall(r"^ *(?:\(umask 077; )?docker run .*", GUIDE, re.MULTILINE)
    assert runs
    assert all(" --init " in run for run in runs)


@pytest.mark.parametrize("name", PLAIN["services"])
def test_logs_end_with_docker_and_with_podman(name: str) -> None:
    logging = PLAIN["services"][name]["logging"]
    assert logging["driver"] == "json-file"  # of those that rotate, the one that both know
    assert {"max-size", "max-file"} <= set(logging["options"])


def test_files_that_are_mounted_are_there() -> None:
    for service in SECURED["services"].values():
        for volume in service.get("volumes", ()):
            if volume.startswith("./"):
                assert (ROOT / volume.partition(":")[0]).exists(), volume


def test_variables_are_in_the_guide() -> None:
    text = COMPOSE.read_text(encoding="utf-8")
    for variable in re.findall(r"\$\{(\w+)", text):
        assert f"`{variable}`" in GUIDE, variable
    settings = {f"{ENVIRONMENT_PREFIX}{name.replace('.', '_').upper()}" for name in setting_names()}
    assert set(re.findall(rf"{ENVIRONMENT_PREFIX}\w+", GUIDE)) <= settings


def test_the_guide_names_the_ports_that_are_open() -> None:
    rows = dict(re.findall(r"^\| (\d+) \| (\w+)", GUIDE, re.MULTILINE))
    published: dict[str, str] = {}
    for profile in PROFILES:
        for name, service in running(PLAIN, profile).items():
            for port in service.get("ports", ()):
                published[port.split(":")[1]] = "server" if name in SERVERS.values() or name == "envoy" else name
    assert rows == published
