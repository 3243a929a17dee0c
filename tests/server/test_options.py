from __future__ import annotations

import inspect
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from posewire_server import options
from posewire_server.__main__ import app
from posewire_server.config import LogFormat, SecurityConfig, ServerConfig
from posewire_server.configuration import load_config, setting_names
from posewire_server.errors import InferenceFailed

OPERATIONS = (Path(__file__).parents[2] / "docs" / "operations.md").read_text(encoding="utf-8")


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[ServerConfig]:
    """The configurations with which a server would have been started."""
    configs: list[ServerConfig] = []
    monkeypatch.setattr(options, "start", configs.append)
    return configs


def _run(*flags: str, **environment: str) -> Any:
    return CliRunner().invoke(app, flags, env=environment)


def test_flags_environment_and_file_meet(started: list[ServerConfig], tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("port = 1\n[limits]\nmax_inbox = 3\n")
    flags = ["--config", str(file), "--port", "7", "--max-streams", "5", "--log-format", "json", "--exit-on-stdin-eof"]
    result = _run(*flags, POSEWIRE_SERVER_DEVICE="cpu")
    assert result.exit_code == 0, result.output
    (config,) = started
    assert config.port == 7
    assert config.limits.max_streams == 5
    assert config.limits.max_inbox == 3
    assert config.device == "cpu"
    assert config.log_format is LogFormat.JSON
    assert config.exit_on_stdin_eof


def test_flags_of_every_table_arrive(started: list[ServerConfig]) -> None:
    flags = ["--tls-cert", "c.pem", "--tls-key", "k.pem", "--client-ca", "a.pem", "--tokens", "t", "--insecure"]
    result = _run(*flags, "--max-people", "70", "--max-idle-s", "5", "--host", "0.0.0.0")
    assert result.exit_code == 0, result.output
    (config,) = started
    paths = [Path(name) for name in ("c.pem", "k.pem", "a.pem", "t")]
    assert config.security == SecurityConfig(
        tls_cert=paths[0], tls_key=paths[1], client_ca=paths[2], tokens=paths[3], insecure=True
    )
    assert config.limits.max_idle_s == 5
    assert config.limits.max_people == 70
    assert config.tracker == ServerConfig().tracker


@pytest.mark.parametrize("flag", ["--record", "--tokens", "--tls-cert", "--config"])
def test_an_empty_path_is_not_the_folder_in_which_one_stands(flag: str, started: list[ServerConfig]) -> None:
    result = _run(flag, "")
    assert (result.exit_code, started) == (2, [])
    assert f"{flag} has an empty value" in result.output


def test_traces_of_a_configuration_can_be_switched_off(started: list[ServerConfig]) -> None:
    assert _run("--traces", "", POSEWIRE_SERVER_TRACES="http://here:4317").exit_code == 0
    assert started[0].traces == ""


def test_no_flags_are_the_defaults(started: list[ServerConfig]) -> None:
    assert _run().exit_code == 0
    assert started == [ServerConfig()]


@pytest.mark.parametrize(
    ("flag", "default"),
    [
        ("--port", "50051"),
        ("--log-level", "info"),
        ("--threads", "0"),  # which has a meaning
        ("--max-streams", "64"),  # of a table
        ("--tokens", None),
        ("--insecure", None),
        ("--flip-test", "as the bundle does"),
    ],
)
def test_the_help_shows_the_default_of_a_setting(flag: str, default: str | None) -> None:
    lines = _run("--help", COLUMNS="300", TERM="dumb").stdout.splitlines()
    (line,) = [line for line in lines if f"│ {flag} " in line]
    shown = re.findall(r"default: \(?(.*?)\)", line)
    assert shown == ([] if default is None else [default])


def test_the_guide_lists_the_settings_that_have_no_flag() -> None:
    flags = {options._full_name(name) for name in inspect.signature(options.serve).parameters} - {"config"}
    (listed,) = re.findall(r"These settings have none:\n\n(.*?)\n\n", OPERATIONS, re.DOTALL)
    assert set(re.findall(r"`([a-z_.]+)`", listed)) == {*setting_names()} - flags


def test_the_example_of_a_configuration_file_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```toml\n(.*?)```", OPERATIONS, re.DOTALL)
    (tmp_path / "server.toml").write_text(example)
    assert load_config(file=tmp_path / "server.toml").limits.max_streams == 20


def test_a_mistake_is_one_line_and_status_2(started: list[ServerConfig]) -> None:
    result = _run("--max-streams", "0")
    assert result.exit_code == 2
    assert "limits.max_streams is 0; it must lie in 1..10000" in result.output
    assert started == []


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (InferenceFailed("the detect stage failed on this frame"), "the detect stage failed on this frame"),
        (FileNotFoundError(2, "No such file or directory", "tokens"), "tokens: No such file or directory"),
    ],
)
def test_what_keeps_a_server_from_starting_is_told_in_one_line(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def run(config: ServerConfig) -> None:
        raise error

    monkeypatch.setattr("posewire_server.process.run", run)
    monkeypatch.setattr("posewire_server.observability.logs.set_up_logging", lambda *_: None)
    with pytest.raises(typer.Exit) as ended:
        options.start(ServerConfig())
    assert ended.value.exit_code == 1
    assert capsys.readouterr().err == f"posewire: the server cannot start: {said}\n"


@pytest.mark.parametrize("bundle", ["a" * 300, "unreadable"])
def test_a_bundle_that_cannot_be_looked_at_is_told_in_one_line(
    bundle: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read_bytes = Path.read_bytes

    def unreadable(path: Path) -> bytes:
        if path.parent.name == "unreadable":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    (tmp_path / "unreadable").mkdir()
    (tmp_path / "unreadable" / "manifest.json").write_text("{}")
    monkeypatch.setattr(Path, "read_bytes", unreadable)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(typer.Exit) as ended:
        options.start(ServerConfig(bundle=bundle))
    assert ended.value.exit_code == 1
    said = r"posewire: the server cannot start: .*manifest\.json: (File name too long|Permission denied)\n"
    assert re.fullmatch(said, capsys.readouterr().err)


def test_a_server_that_is_told_to_stop_while_it_is_only_being_loaded_stops() -> None:
    """Else the first process of a container would not even be sent the signal."""
    code = """
import os, signal
from posewire_server import options
options.find_bundle = lambda _: os.kill(os.getpid(), signal.SIGTERM)
options.start(options.ServerConfig())
"""
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0


@pytest.mark.parametrize("closed", ["2>&-", ">&-"])
def test_a_server_may_have_neither_output_nor_errors_to_write_to(closed: str) -> None:
    code = """
import posewire_server.process
from posewire_server import options
posewire_server.process.run = lambda config: None
options.start(options.ServerConfig())
"""
    command = ["sh", "-c", f'exec "$0" -c "$1" {closed}', sys.executable, code]
    assert subprocess.run(command, timeout=60, check=False).returncode == 0


def test_what_ends_it_while_it_is_loaded_does_not_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []

    def run(config: ServerConfig) -> None:
        seen.append(signal.getsignal(signal.SIGTERM))
        raise ValueError("no room")

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr("posewire_server.process.run", run)
    monkeypatch.setattr("posewire_server.observability.logs.set_up_logging", lambda *_: None)
    with pytest.raises(typer.Exit):
        options.start(ServerConfig())
    assert seen != [before]
    assert signal.getsignal(signal.SIGTERM) == before


def test_the_command_line_costs_no_torch_and_no_grpc() -> None:
    code = "import sys, posewire_server.__main__; print({'torch', 'grpc', 'cv2'} & sys.modules.keys() or '{}')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "{}"
