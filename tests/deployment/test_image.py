"""The recipe of the image; docker/prove.sh builds and runs it."""

from __future__ import annotations

import ast
import importlib.util
import json
import re
import shlex
import tomllib
from types import ModuleType

import pytest
from typer.testing import CliRunner

from posewire_server import options
from posewire_server.__main__ import app
from posewire_server.config import DEFAULT_PORT, ServerConfig
from tests.deployment.compose_files import COMPOSE, ROOT, read

RECIPE = (ROOT / "docker" / "server.Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
IGNORED = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()


def _instructions(name: str) -> list[str]:
    return [line.partition(" ")[2].strip() for line in RECIPE.splitlines() if line.startswith(f"{name} ")]


def _variables() -> dict[str, str]:
    return dict(word.split("=", 1) for line in _instructions("ENV") for word in shlex.split(line))


@pytest.fixture(scope="module")
def recipe() -> ModuleType:
    """docker/requirements.py, which is no package."""
    spec = importlib.util.spec_from_file_location("image_requirements", ROOT / "docker" / "requirements.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("variant", ["cuda", "cpu"])
def test_every_requirement_is_pinned(recipe: ModuleType, variant: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pinned = {_key(line.partition("==")[0]) for line in (ROOT / "constraints.txt").read_text().splitlines()}
    lines = recipe.requirements(project, variant)
    # On one machine the one, on another the other: both are written down, with their conditions.
    assert {_key(re.split(r"[\[<>=; ]", line)[0]) for line in lines} <= pinned
    assert any(line.startswith("openvino") for line in lines) == (variant == "cpu")
    assert any("gpu" in line for line in lines) == (variant == "cuda")
    # Torch no longer brings all CUDA libraries of ONNX Runtime.
    assert any(line.startswith("onnxruntime-gpu[cuda]") for line in lines) == (variant == "cuda")
    assert any(line == line.partition(";")[0] for line in lines if line.startswith("onnxruntime>")) == (
        variant == "cpu"
    )


def _key(name: str) -> str:
    return name.strip().lower().replace("_", "-")


def test_the_command_is_one_that_the_server_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    configs: list[ServerConfig] = []
    monkeypatch.setattr(options, "start", configs.append)
    (entry,), (command,) = _instructions("ENTRYPOINT"), _instructions("CMD")
    program, (serve, *flags) = json.loads(entry), json.loads(command)
    assert program == ["posewire"]
    assert serve == "serve"
    # By itself it refuses to serve everybody ...
    assert "use --insecure" in CliRunner().invoke(app, flags, env=_variables()).stderr
    # ... and with what compose.yaml says, it serves.
    CliRunner().invoke(app, [*flags, "--insecure"], env=_variables(), catch_exceptions=False)
    (config,) = configs
    assert not config.is_local


def test_it_listens_where_it_says() -> None:
    metrics = read(COMPOSE)["services"]["server"]["environment"]["POSEWIRE_SERVER_METRICS_PORT"]
    assert _instructions("EXPOSE") == [f"{DEFAULT_PORT} {metrics}"]


def test_the_health_check_is_a_module_of_the_server() -> None:
    (check,) = _instructions("HEALTHCHECK")
    program = json.loads(check[check.index("[") :])
    assert program[:2] == ["python", "-m"]
    assert importlib.util.find_spec(program[2]) is not None


def test_it_is_not_root_and_may_write_where_it_must() -> None:
    (user,) = _instructions("USER")
    assert user == "10001:10001"
    assert user == read(COMPOSE)["services"]["envoy"]["user"]  # which reads the same secrets
    variables, volumes = _variables(), json.loads(_instructions("VOLUME")[0])
    # Where `load_key` puts the resume key, and the store of weights its files.
    assert f"{variables['XDG_STATE_HOME']}/posewire" in volumes
    assert variables["POSEWIRE_CACHE"] in volumes
    mounted = {volume.split(":")[1] for volume in read(COMPOSE)["services"]["server"]["volumes"]}
    assert mounted == set(volumes)


def test_the_base_is_named_by_its_digest() -> None:
    (base,) = [line for line in _instructions("ARG") if line.startswith("BASE=")]
    assert re.fullmatch(r"BASE=[\w./-]+:[\w.-]+@sha256:[0-9a-f]{64}", base)


def test_all_that_is_copied_is_in_the_context() -> None:
    let_in = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    copied = {word for line in _instructions("COPY") if "--from" not in line for word in line.split()[:-1]} - {"."}
    assert copied <= let_in
    setuptools = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]["find"]["where"]
    assert {*setuptools, "LICENSE", "README.md", "pyproject.toml"} <= let_in
    assert "docker" not in let_in  # else every change of a dashboard would build the project again


def test_no_network_needs_a_compiler() -> None:
    # The image has none, and Triton is left out: a gigabyte.
    for folder in ("models", "server"):
        for file in (ROOT / folder).rglob("*.py"):
            names = {
                ast.unparse(node) for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Attribute)
            }
            assert not {"torch.compile", "torch.jit.script"} & names, file


def test_the_weights_of_nano_come_along() -> None:
    package_data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    assert "bundles/**/*.safetensors" in package_data["posewire_models"]
    assert list((ROOT / "models" / "posewire_models" / "bundles" / "nano").glob("*.safetensors"))
