from __future__ import annotations

from pathlib import Path

import pytest

from posewire_server.config import LogLevel, ServerConfig
from posewire_server.configuration import ConfigError, load_config, setting_names
from posewire_server.tracking import Similarity


def test_nothing_given_is_the_defaults() -> None:
    assert load_config() == ServerConfig()


@pytest.mark.parametrize(("limit", "default"), [(7, 7), (70, 50)])
def test_a_limit_of_people_lowers_what_streams_get_that_ask_for_nothing(limit: int, default: int) -> None:
    config = load_config(flags={"limits.max_people": limit})
    assert (config.limits.max_people, config.tracker.max_people) == (limit, default)


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text(
        'port = 1\nhost = "::1"\nlog_level = "debug"\n'
        '[limits]\nmax_streams = 1\nmax_people = 70\n[tracker]\nsimilarity = "pose"\n'
    )
    environment = {"POSEWIRE_SERVER_PORT": "2", "POSEWIRE_SERVER_LIMITS_MAX_STREAMS": "2", "HOME": "/"}
    config = load_config(file=file, environment=environment, flags={"port": 3, "limits.max_inbox": 5, "device": None})
    assert config.port == 3  # flag over environment over file
    assert config.limits.max_streams == 2  # environment over file
    assert config.limits.max_people == 70  # file over default
    assert config.limits.max_inbox == 5
    assert config.host == "::1"
    assert config.log_level is LogLevel.DEBUG
    assert config.tracker.similarity is Similarity.POSE
    assert config.device == ServerConfig().device  # a flag that was not given


def test_one_setting_of_a_stage_leaves_its_others_alone(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text("\ufeff[batching.pose]\nmax_wait_ms = 7\n")  # with a mark, as from an editor on Windows
    batching = load_config(file=file).batching
    assert batching.pose.max_wait_ms == 7
    assert batching.pose.max_batch == ServerConfig().batching.pose.max_batch
    assert batching.detect == ServerConfig().batching.detect


@pytest.mark.parametrize(
    ("toml", "says"),
    [
        ("prot = 1", r"unknown setting 'prot'; did you mean 'port'\?"),
        ("[limits]\nmax_stream = 1", r"did you mean 'limits.max_streams'\?"),
        ("[limit]\nmax_streams = 1", r"did you mean 'limits.max_streams'\?"),
        ("port = true", "port is True .* whole number"),  # bool is an int in Python, not here
        ("port = 1.5", "port is 1.5 .* whole number"),
        ("host = 1", "host is 1 .* text"),
        ('record = ""', "record is '' .* path"),
        ("port = 70000", r"port is 70000; it must lie in 0..65535 \(.*server.toml\)"),
        pytest.param("port = 1" + "0" * 400, "port is 1000.*; it must lie in", id="more than a float holds"),
        ('log_level = "loud"', "log_level is 'loud' .* debug, info, warning, error"),
        ("port = ", "not valid TOML"),
        pytest.param("port = " + "[" * 5000, "not valid TOML: maximum recursion depth", id="deep"),
        pytest.param("port = " + "1" * 5000, "not valid TOML: Exceeds the limit", id="long number"),
        pytest.param("[limits]\nmax_fps = 1" + "0" * 400, "limits.max_fps is 1000.* a number", id="more than a float"),
        ("[tracker]\nmax_people = 500", r"tracker.max_people is 500, above limits.max_people .*server.toml\)"),
        ("[limits]\nmax_people = 10\n[tracker]\nmax_people = 20", r"tracker.max_people is 20, above .*server.toml\)"),
        ("[tracker]\ndetect_every = 0", r"^tracker.detect_every is 0; it must lie in 1..1000 \(.*server.toml\)"),
        ("[batching.flow]\nmax_wait_ms = -1", r"^batching.flow.max_wait_ms is -1.0; .*server.toml\)"),
        ("limits = 3", r"'limits' is a table of settings: write \[limits\]"),
        ("[[limits]]\nmax_fps = 3", r"'limits' is a table of settings: write \[limits\]"),
    ],
)
def test_mistakes_in_a_file_name_it(tmp_path: Path, toml: str, says: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(toml)
    with pytest.raises(ConfigError, match=says):
        load_config(file=file)


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("POSEWIRE_SERVER_PROT", "1", "unknown environment variable POSEWIRE_SERVER_PROT; did you mean .*_PORT"),
        ("POSEWIRE_SERVER_PORT", "high", "port is 'high' .environment variable POSEWIRE_SERVER_PORT.; .* whole number"),
        ("POSEWIRE_SERVER_DRAIN_GRACE_S", "nan", "drain_grace_s is nan"),
        ("POSEWIRE_SERVER_EXIT_ON_STDIN_EOF", "maybe", "must be true or false"),
        ("POSEWIRE_SERVER_PORT", "", "port is '' .* whole number"),
        (
            "POSEWIRE_SERVER_RECORD",
            "",
            "record is '' .*_RECORD.; it must be a path, or be left out",
        ),  # not the folder .
        ("POSEWIRE_SERVER_SECURITY_TOKENS", "", "security.tokens is ''"),  # which would open the server to others
    ],
)
def test_mistakes_in_the_environment_name_the_variable(variable: str, value: str, says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        load_config(environment={variable: value})


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*nowhere\.toml: No such file"):
        load_config(file=tmp_path / "nowhere.toml")


@pytest.mark.parametrize("name", setting_names())
def test_every_setting_can_come_from_the_environment(name: str) -> None:
    value: object = ServerConfig()
    for part in name.split("."):
        value = getattr(value, part)
    text = {"flip_test": "true"}.get(name) or ("somewhere" if value is None else str(value))
    # Settings that make no sense alone.
    tls = {"POSEWIRE_SERVER_SECURITY_TLS_CERT": "cert.pem", "POSEWIRE_SERVER_SECURITY_TLS_KEY": "key.pem"}
    load_config(environment=tls | {f"POSEWIRE_SERVER_{name.replace('.', '_').upper()}": text})
