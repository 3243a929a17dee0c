"""The commands without a server: help, usage errors, delegation, and what they cost to import."""

from __future__ import annotations

import importlib
import json
import os
import resource
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any
from unittest.mock import MagicMock

import pytest
from typer.testing import CliRunner

from posewire import __version__
from posewire.cli import main
from posewire.cli.application import app
from posewire.synth import PRESETS

CLIP_FLAGS = (
    "--server --out --format --render --max-frames --similarity --no-propagation --queue-length --detect-every "
    "--bundle --detector --flow --name --quiet"
)


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, list(arguments))


def test_help_needs_nothing_heavy() -> None:
    script = "import sys, posewire.cli.application; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert not set(loaded) & {"numpy", "cv2", "av", "grpc", "torch", "posewire.synth", "posewire_server"}


def test_help_lists_all_commands() -> None:
    result = run("--help")
    assert result.exit_code == 0
    for command in ("serve", "track", "poses", "demo", "info", "synth", "bench", "train"):
        assert f" {command} " in result.stdout
    assert run("--version").stdout == f"posewire {__version__}\n"


@pytest.mark.parametrize("flag", CLIP_FLAGS.split())
def test_track_has_its_flags(flag: str) -> None:
    assert f"{flag} " in run("track", "--help").stdout.replace(",", " ")


@pytest.mark.parametrize(
    "command",
    [
        *("track", "run-dataset", "poses", "demo", "top", "info", "synth", "token", "replay", "explain", "serve"),
        *("ablate", "tune"),
        *("models list", "models pull", "models verify", "models convert", "models export"),
        *("eval coco", "eval posetrack", "eval mot", "bench service", "bench load", "bench roofline", "bench all"),
    ],
)
def test_help_cuts_nothing_off_on_a_narrow_terminal_or_in_a_pipe(command: str) -> None:
    """As `posewire serve --help | grep max-openings-per-s` needs it."""
    result = CliRunner(env={"COLUMNS": "80", "TERM": "dumb"}).invoke(app, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert "--help" in result.stdout
    assert "…" not in result.stdout


@pytest.mark.parametrize("command", ["synth", "demo"])
def test_presets_are_named_in_the_help(command: str) -> None:
    assert ", ".join(PRESETS) in " ".join(run(command, "--help").stdout.replace("│", " ").split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["track"], "SOURCE"),
        (["track", "x.mp4", "--max-frames", "0"], "--max-frames"),
        (["track", "x.mp4", "--queue-length", "1001"], "--queue-length"),
        (["track", "x.mp4", "--detect-every", "-1"], "--detect-every"),
        (["track", "x.mp4", "--similarity", "magic"], "multi-flow"),
        (["track", "x.mp4", "--format", "xml"], "posetrack"),
        (["track", "x.mp4", "--server", "h:1", "--bundle", "nano"], "--bundle would choose"),
        (["track", "x.mp4", "--out", "-", "--format", "coco"], "file name"),
        (["poses", "pictures"], "--out"),
        (["demo", "--preset", "hard"], "unknown preset 'hard'"),
        (["demo", "--people", "99"], "0..40"),
        (["models", "pull", "--mirror", "mirror.local/weights", "nano"], "looks like https://mirror.example/weights"),
        (["synth", "out", "--size", "640"], "WIDTHxHEIGHT"),
        (["synth", "out", "--size", "10x10"], "64..4096"),
        (["synth", "out", "--size", "4²x3"], "WIDTHxHEIGHT"),  # digits, but no number
        (["synth", "out", "--size", f"640x{9 * '1234567890' * 99}"], "WIDTHxHEIGHT"),
        (["demo", "--seconds", "inf"], "--seconds"),
        (["demo", "--seconds", "1e308"], "--seconds"),
        (["demo", "--seconds", "nan"], "--seconds"),
        (["top", "--every", "inf"], "--every"),
        (["synth", "out", "--fps", "nan"], "1..240"),
        (["synth", "out", "--frames-as", "gif"], "png"),
        (["track", "x.mp4", "--detector", "none"], "nobody would be found"),
        (["run-dataset", "--videos", "v", "--gt", "g", "--out", "o", "--detector", "none"], "nobody would be found"),
        # from unset variables
        (["serve", "--record", ""], "--record has an empty value"),
        (["serve", "--resume-key="], "--resume-key has an empty value"),
        (["track", "x.mp4", "--server", ""], "--server has an empty value"),
        (["bench", "load", "--source", ""], "--source has an empty value"),
        (["train", "pose", "--out="], "--out has an empty value"),
        (["eval", "coco", "--gt", "gt.json", "--dt", ""], "--dt has an empty value"),
        (["track", ""], "an argument is empty"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_right(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["track", "missing.mp4"], "missing.mp4 does not exist"),
        (["demo", "missing.mp4"], "missing.mp4 does not exist"),
        (["poses", "nowhere", "--out", "dt.json"], "nowhere is not a folder"),
        (["demo", "--render", "nowhere/demo.mp4"], "the folder nowhere does not exist"),
        (["models", "convert", "x.pth", "--out", "nowhere/x.safetensors"], "the folder nowhere does not exist"),
        (["models", "export", "nano", "--onnx", "/dev/null/onnx"], "/dev/null/onnx cannot be made or written to"),
    ],
)
def test_what_cannot_be_done_is_said_before_a_server_is_started(
    arguments: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_server(*_: object, **__: object) -> None:
        raise AssertionError("a server was started")

    monkeypatch.setattr(subprocess, "Popen", no_server)
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith("posewire: ")
    assert said in result.stderr


def test_what_the_system_says_is_told_without_its_number(tmp_path: Path) -> None:
    result = run("token", "door", "--append-to", str(tmp_path))
    assert (result.exit_code, result.stderr) == (1, f"posewire: {tmp_path}: Is a directory\n")


def test_ctrl_c_is_heeded_from_the_beginning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("posewire.cli.application.app", interrupted)
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 130
    assert capsys.readouterr().err == "posewire: interrupted\n"


@pytest.mark.parametrize("flag", ["--version", "--help"])
def test_a_full_disk_is_told_in_one_line_also_of_flags_without_a_command(flag: str) -> None:
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "posewire", flag]
        finished = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (finished.returncode, finished.stderr) == (1, "posewire: No space left on device\n")


def test_a_file_that_is_no_video_is_said_early(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_text("these are notes")
    result = run("track", str(tmp_path / "notes.mp4"))
    assert result.exit_code == 1
    assert "notes.mp4" in result.stderr


@pytest.mark.skipif(find_spec("matplotlib") is None, reason="needs the extra `eval`")
@pytest.mark.parametrize("command", [["tune"], ["ablate", "--synthetic"]])
def test_a_folder_that_cannot_be_made_is_said_before_the_work(
    command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def work(*_: object, **__: object) -> None:
        raise AssertionError("the work was begun")

    stand_in = MagicMock()  # the true ones take seconds to import
    for name in ("ablation.search", "benchmark_sets.baselines", "benchmark_sets.page", "benchmark_sets.trackers"):
        monkeypatch.setitem(sys.modules, f"posewire_evaluation.{name}", stand_in)
    for used in (stand_in.search, stand_in.compare):
        used.side_effect = work
    (tmp_path / "file").touch()
    for out in ("file", "file/below"):
        result = run(*command, "--out", str(tmp_path / out))
        assert result.exit_code == 1
        assert f"{out} cannot be made or written to" in result.stderr


@pytest.mark.parametrize("command", ["serve", "bench", "train"])
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ModuleNotFoundError("No module named 'torch'", name="torch"), "pip install 'posewire[server]'"),
        # A library of the system is missing.
        (ImportError("libGL.so.1: cannot open shared object file"), "(libGL.so.1: cannot open shared object file)"),
        # torch and torchvision are of different builds.
        (RuntimeError("operator torchvision::nms does not exist"), "(operator torchvision::nms does not exist)"),
    ],
)
def test_commands_of_the_extra_say_how_to_install_it(
    command: str, error: Exception, says: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def import_module(name: str, package: str | None = None) -> ModuleType:
        if name.startswith("posewire"):
            raise error
        return true(name, package)  # for typer

    true = importlib.import_module
    monkeypatch.setattr(importlib, "import_module", import_module)
    result = run(command)
    assert result.exit_code == 1
    assert result.stderr.count("\n") == 1
    assert says in result.stderr


@pytest.mark.parametrize("command", [("replay", "x.pwrec"), ("explain", "x.pwrec", "--frame", "1")])
def test_recordings_say_how_to_install_what_they_need(command: tuple[str, ...]) -> None:
    code = "import sys; sys.modules['torch'] = None; from posewire.cli import main; main()"
    done = subprocess.run([sys.executable, "-c", code, *command], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    says = "reading a recording needs the package torch; install it: pip install 'posewire[server]'"
    assert done.stderr == f"posewire: {says}\n"


@pytest.mark.parametrize(
    ("error", "command"),
    [
        # As torchvision beside a torch of another build.
        pytest.param(
            RuntimeError("operator torchvision::nms does not exist"),
            ("models", "export", "nano", "--onnx", "out"),
            marks=pytest.mark.skipif(find_spec("onnxruntime") is None, reason="needs the extra `server`"),
        ),
        (ImportError("libgomp.so.1: cannot open shared object file"), ("models", "convert", "x.pth")),
        (ImportError("libgomp.so.1: cannot open shared object file"), ("replay", "x.pwrec")),
    ],
)
def test_a_library_that_cannot_be_loaded_is_said_in_one_line(
    error: Exception, command: tuple[str, ...], tmp_path: Path
) -> None:
    (tmp_path / "torch.py").write_text(f"raise {error!r}")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-m", "posewire", *command],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert f"a library cannot be loaded ({error})" in done.stderr
    assert done.stderr.count("\n") == 1


def test_serve_hands_its_flags_on() -> None:
    result = run("serve", "--help")
    assert result.exit_code == 0
    assert "--exit-on-stdin-eof" in result.stdout


def test_a_scene_without_room_names_its_folder(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2000, before[1]))  # as on a full disk
    try:
        result = run("synth", str(tmp_path), "--frames", "2", "--size", "96x80", "--frames-as", "png")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert result.exit_code == 1
    told = f"posewire: {tmp_path} cannot be written: File too large; check the folder, its rights and its space\n"
    assert result.stderr == told
    assert not list(tmp_path.iterdir())


def test_synth_writes_a_scene(tmp_path: Path) -> None:
    out = tmp_path / "scene"
    flags = [
        "--preset",
        "crowd",
        "--people",
        "3",
        "--frames",
        "3",
        "--size",
        "96x80",
        "--seed",
        "5",
        "--fps",
        "10",
        "--flow",
        "--frames-as",
        "png",
    ]
    result = run("synth", str(out), *flags)
    assert (result.exit_code, result.stdout) == (0, "")
    manifest = json.loads((out / "manifest.json").read_text())
    assert (
        manifest["scene"] | {"people": 3, "frames": 3, "width": 96, "height": 80, "seed": 5, "fps": 10.0}
        == manifest["scene"]
    )
    assert len(list((out / manifest["pictures"]).iterdir())) == 3
    assert len(list((out / manifest["flow"]).iterdir())) == 2
    for name in ("manifest.json", manifest["annotations"]):
        assert str(out / name) in result.stderr
    assert run("synth", str(out), *flags, "--quiet").stderr == ""


def test_synth_refuses_a_file_as_its_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    result = run("synth", str(tmp_path / "file"), "--frames", "1")
    assert result.exit_code == 1
    assert "is a file" in result.stderr
