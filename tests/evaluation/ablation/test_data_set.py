"""What `posewire ablate` makes of folders, and says of faulty ones."""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from posewire.cli.application import app
from posewire.cli.evaluation_data import DataChoice, data_of, open_data, processes
from posewire.synth import Scene, SceneConfig
from posewire.synth.export import FramesAs, write_scene
from posewire_evaluation.ablation import search
from posewire_evaluation.ablation.data_set import read_data_set
from posewire_evaluation.ablation.networks import BundleNetworks, with_unique_names
from posewire_evaluation.errors import EvaluationError
from tests.evaluation.ablation.stand_ins import CountedNetworks

NAME = "000003_synth"


@pytest.fixture
def data(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of pictures and of truth, of a scene of four frames."""
    scene = Scene(SceneConfig.preset("easy", seed=3, frames=4, width=64, height=64))
    files = write_scene(scene, tmp_path, frames_as=FramesAs.PNG)
    return files.frames.parent, files.annotations.parent


def test_sequences_are_put_together_by_name(data: tuple[Path, Path]) -> None:
    (sequence,) = read_data_set(*data)
    assert sequence.video.path == data[0] / NAME
    assert [frame.number for frame in sequence.truth.frames] == [0, 1, 2, 3]
    assert sequence.found.numbers == (0, 1, 2, 3)


def test_hidden_files_are_no_sequences(data: tuple[Path, Path]) -> None:
    (data[1] / f"._{NAME}.json").write_bytes(b"\0\5\26\7Mac OS X")
    assert [sequence.truth.name for sequence in read_data_set(*data)] == [NAME]


def test_what_is_missing_is_said_with_what_was_looked_for(tmp_path: Path, data: tuple[Path, Path]) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(EvaluationError, match=rf"no video of the sequence '{NAME}'.*{NAME}\.mp4"):
        read_data_set(empty, data[1])
    with pytest.raises(EvaluationError, match=r"holds no \*\.json"):
        read_data_set(data[0], empty)
    with pytest.raises(EvaluationError, match="nowhere is not a folder"):
        read_data_set(tmp_path / "nowhere", data[1])


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda truth: truth["annotations"][-1].pop("bbox_head"), r"000003_synth\.json: frame 3: .* has no head box"),
        (lambda truth: truth["annotations"].clear(), "has no frame with people"),
    ],
)
def test_what_cannot_be_scored_is_found_before_the_networks_run(
    spoil: Callable[[Any], object], said: str, data: tuple[Path, Path]
) -> None:
    (truth,) = data[1].glob("*.json")
    content = json.loads(truth.read_text())
    spoil(content)
    truth.write_text(json.dumps(content))
    with pytest.raises(EvaluationError, match=said):
        read_data_set(*data)


def test_a_truth_of_some_frames_does_not_say_how_a_video_counts(
    data: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    (truth,) = data[1].glob("*.json")
    content = json.loads(truth.read_text())
    content["images"] = content["images"][2:]
    listed = {image["id"] for image in content["images"]}
    content["annotations"] = [each for each in content["annotations"] if each["image_id"] in listed]
    truth.write_text(json.dumps(content))
    open_data(DataChoice(*data), quiet=True)
    assert capsys.readouterr().err == ""
    shutil.rmtree(data[0] / NAME)
    (data[0] / f"{NAME}.mp4").touch()
    open_data(DataChoice(*data), quiet=True)
    assert f"posewire: note: the frames of {data[0] / NAME}.mp4 are counted from 0" in capsys.readouterr().err


def run(*arguments: object) -> Any:
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [str(argument) for argument in arguments])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ablate"], "--out"),
        (["ablate", "--out", "o"], "give either --videos and --gt, or --synthetic"),
        (["ablate", "--out", "o", "--videos", "v"], "--videos and --gt go together"),
        (["ablate", "--out", "o", "--videos", "v", "--gt", "g", "--synthetic"], "give either"),
        (["ablate", "--out", "o", "--synthetic", "--bundle", "nano"], "look at videos"),
        (["tune", "--out", "o", "--detector", "bundle"], "look at videos"),
        (["tune", "--out", "o", "--flow", "dis"], "look at videos"),
        (["ablate", "--out", "o", "--videos", "v", "--gt", "g", "--detector", "none"], "--detector none finds nobody"),
        (["tune", "--out", "o", "--gt", "g"], "--videos and --gt go together"),
        (["tune", "--out", "o", "--objective", "luck"], "hota"),
        (["tune", "--out", "o", "--workers", "0"], "--workers"),
    ],
)
def test_wrong_usage_is_status_2_and_says_what_is_right(arguments: list[str], said: str) -> None:
    result = run(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("flags", "status", "said"),
    [
        (["--bundle", "giant"], 2, "unknown bundle 'giant'"),
        (["--detector", "magic"], 2, "unknown detector 'magic'"),
        (["--detector", "onnx:missing.onnx"], 2, "missing.onnx does not exist"),
        (["--bundle", "nano", "--bundle", "nano"], 2, "the networks 'nano' are asked for twice"),
        (["--cache", os.devnull], 1, "the folder /dev/null cannot be made or written to"),
        ([], 1, "no picture of frame 3"),
    ],
)
def test_faulty_data_and_names_are_said(
    flags: list[str], status: int, said: str, data: tuple[Path, Path], tmp_path: Path
) -> None:
    if not flags:
        (data[0] / NAME / "000003.png").unlink()
    result = run("ablate", "--videos", data[0], "--gt", data[1], "--out", tmp_path / "out", "--workers", 1, *flags)
    assert said in result.stderr
    assert result.exit_code == status


@pytest.mark.parametrize(
    ("bundles", "detectors", "flow", "networks"),
    [
        (None, None, None, [("nano", "bundle", "auto")]),
        (
            ["nano", "b"],
            ["bundle", "onnx:d.onnx"],
            "dis",
            [
                ("nano", "bundle", "dis"),
                ("nano", "onnx:d.onnx", "dis"),
                ("b", "bundle", "dis"),
                ("b", "onnx:d.onnx", "dis"),
            ],
        ),
    ],
)
def test_every_bundle_is_run_with_every_detector(
    bundles: list[str] | None, detectors: list[str] | None, flow: str | None, networks: list[tuple[str, str, str]]
) -> None:
    choice = data_of(Path("v"), Path("g"), bundles, detectors, flow, "cpu")
    assert choice is not None
    assert choice.networks() == [BundleNetworks(*each, device="cpu") for each in networks]


def test_there_is_a_process_per_processor_and_none_beside_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [processes(wanted) for wanted in (1, 2)] == [0, 2]
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {3, 4, 5})
    assert processes(None) == 3


@pytest.mark.parametrize(
    ("choices", "names"),
    [
        ([("nano", "bundle"), ("runs/a/bundle", "bundle")], ["nano", "bundle"]),
        ([("runs/a/bundle", "bundle"), ("runs/b/bundle", "bundle")], ["a/bundle", "b/bundle"]),
        # as many folders as are needed, and no more
        (
            [("x/a/bundle", "bundle"), ("y/a/bundle/", "bundle"), ("x/b/bundle", "bundle"), ("./b", "bundle")],
            ["x/a/bundle", "y/a/bundle", "b/bundle", "b"],
        ),
        ([("bundle", "bundle"), ("/bundle", "bundle")], ["bundle", "/bundle"]),
        ([("nano", "onnx:a/d.onnx"), ("nano", "onnx:b/d.onnx")], ["nano, onnx:a/d.onnx", "nano, onnx:b/d.onnx"]),
        ([("nano", "none"), ("nano", "torchvision:ssd")], ["nano, none", "nano, torchvision:ssd"]),
        ([], []),
    ],
)
def test_networks_are_told_apart(choices: list[tuple[str, str]], names: list[str]) -> None:
    networks = with_unique_names([BundleNetworks(bundle, detector) for bundle, detector in choices])
    assert [each.name for each in networks] == names
    assert [(each.bundle, each.detector) for each in networks] == choices


@pytest.mark.parametrize(
    ("package", "said"),
    [
        ("trackeval.metrics", "pip install --no-deps trackeval"),
        ("matplotlib.figure", "plots need matplotlib; install it: pip install 'posewire[server,eval]'"),
        ("motmetrics", "needs the package motmetrics"),
    ],
)
def test_what_is_needed_last_is_missed_first(
    package: str, said: str, data: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = CountedNetworks()
    monkeypatch.setattr(DataChoice, "networks", lambda _: [networks])
    for name in [name for name in sys.modules if name.startswith("posewire_evaluation")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    for command in ("ablate", "tune"):
        result = run(command, "--out", tmp_path, "--videos", data[0], "--gt", data[1], "--workers", 1)
        assert result.exit_code == 1
        assert said in result.stderr
    assert not networks.stages.counts


def test_both_commands_work_on_the_same_cache(
    data: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    networks = CountedNetworks()
    monkeypatch.setattr(DataChoice, "networks", lambda _: [networks])
    monkeypatch.setattr(search, "PARAMETERS", {"queue_length": (1, 10)})
    flags = ["--videos", data[0], "--gt", data[1], "--cache", tmp_path / "cache", "--workers", 1, "--quiet"]
    table = run("ablate", "--out", tmp_path / "a", *flags)
    assert table.exit_code == 0, table.stderr
    assert table.stdout == (tmp_path / "a" / "table_5.txt").read_text()
    found = run("tune", "--out", tmp_path / "t", "--samples", 0, *flags)
    assert found.exit_code == 0, found.stderr
    assert found.stdout == (tmp_path / "t" / "tune.txt").read_text()
    assert networks.stages.counts["detector"] == 4
    assert networks.stages.counts["flow"] == 3
