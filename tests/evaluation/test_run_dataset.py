"""`posewire run-dataset` against a running server: files for the official tools, resuming, failures."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from posewire.cli import private_server, settings_note
from posewire.cli.application import app
from posewire.joints import COCO17, POSETRACK15
from posewire.writers import VideoWriter
from posewire_evaluation.posetrack_files import read_posetrack
from posewire_models.frames import Frame
from posewire_models.manifest import find_bundle, read_manifest
from tests.evaluation.people import as_2017, as_2018, frame, pose, sequence, walk, written
from tests.server.serving import serving
from tests.server.stand_ins import BlueShyPose, Floats, GridPose, Pixels, networks, picture

FRAMES = 6
NOBODY = "127.0.0.1:1"


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with serving(networks(pose=BlueShyPose())) as address:
        yield address


def pictures(folder: Path, first: int = 0, frames: int = FRAMES, digits: int = 6) -> Path:
    folder.mkdir(parents=True)
    for step in range(frames):
        cv2.imwrite(str(folder / f"{first + step:0{digits}d}.png"), picture(step))
    return folder


def clip(path: Path, frames: int = FRAMES) -> Path:
    with VideoWriter(path, COCO17, fps=25) as writer:
        for step in range(frames):
            writer.add(picture(step), step / 25)
    return path


def truth(file: Path, first: int = 0, frames: int = FRAMES, *, as_file: Any = as_2018, name: str = "") -> Path:
    content = sequence(*(frame(first + t, {1: pose(100)}) for t in range(frames)), name=name or file.stem)
    return written(file, as_file(content))


def run(folder: Path, server: str | None, *flags: str) -> Any:
    command = ["run-dataset", "--videos", folder / "videos", "--gt", folder / "gt", "--out", folder / "dt"]
    address = [] if server is None else ["--server", server]
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, [*map(str, command), *address, *flags])


def noted(folder: Path, **models: Any) -> None:
    """Let the predictions be of other networks."""
    file = folder / "dt" / ".posewire-run.json"
    content = json.loads(file.read_text())
    file.write_text(json.dumps({**content, "models": {**content["models"], **models}}))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder of pictures, a video, and pictures where PoseTrack has them, of 2017 and counted from 1."""
    pictures(tmp_path / "videos" / "000001_folder")
    truth(tmp_path / "gt" / "000001_folder.json")
    clip(tmp_path / "videos" / "000002_clip.mp4")
    truth(tmp_path / "gt" / "000002_clip.json")
    pictures(tmp_path / "videos" / "images" / "bonn" / "000003_mpii", first=1, digits=8)
    truth(tmp_path / "gt" / "000003_mpii_relpath.json", first=1, as_file=as_2017, name="000003_mpii")
    return tmp_path


def test_every_sequence_has_its_prediction(data: Path, server: str) -> None:
    result = run(data, server, "--parallel", "2")
    assert result.exit_code == 0, result.stderr
    assert "3 sequences tracked, 18 frames" in result.stderr
    for file in sorted((data / "gt").glob("*.json")):
        wanted, found = read_posetrack(file), read_posetrack(data / "dt" / file.name, predictions=True)
        assert [each.number for each in found.frames] == [each.number for each in wanted.frames]
        for each in found.frames:
            assert each.ids.tolist() == [1, 2]
    content = json.loads((data / "dt" / "000003_mpii_relpath.json").read_text())
    assert content["images"][0]["file_name"] == "images/000003_mpii/000001.jpg"
    assert content["images"][0]["vid_id"] == "000003"
    evaluated = CliRunner().invoke(app, ["eval", "posetrack", "--gt", str(data / "gt"), "--dt", str(data / "dt")])
    assert evaluated.exit_code == 0, evaluated.stderr


def test_hidden_files_are_no_sequences(data: Path) -> None:
    (data / "videos" / "000001_folder" / "._000001.png").write_bytes(b"\0\5\26\7Mac OS X")
    (data / "gt" / "._000001_folder.json").write_bytes(b"\0\5\26\7Mac OS X")
    shutil.copytree(data / "gt", data / "dt", ignore=shutil.ignore_patterns(".*"))
    result = run(data, NOBODY)
    assert result.exit_code == 0, result.stderr
    assert "0 sequences tracked, 3 already there" in result.stderr


class DoubtfulPose(GridPose):
    """Doubts every joint but three, and keeps the pictures that it saw."""

    sure = ("left_shoulder", "right_shoulder", "left_wrist")

    def __init__(self) -> None:
        self.seen: list[Pixels] = []

    def __call__(self, frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        self.seen += [frame.pixels for frame in frames]
        poses = super().__call__(frames, boxes)
        for joints in poses:
            joints[:, :, 2] = 0.39
            joints[:, [COCO17.index(name) for name in self.sure], 2] = 0.9
        return poses


def test_predictions_are_those_of_the_tracker_and_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "videos" / "000001_noise"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0).integers(0, 64, (240, 320, 3)).astype(np.uint8)
    cv2.imwrite(str(folder / "000000.png"), np.maximum(picture(), noise)[..., ::-1])
    truth(tmp_path / "gt" / "000001_noise.json", frames=1)
    pose_net = DoubtfulPose()
    with serving(networks(pose=pose_net)) as address:
        assert run(tmp_path, address).exit_code == 0
    (found,) = read_posetrack(tmp_path / "dt" / "000001_noise.json", predictions=True).frames
    # Joints below the tracker's threshold are none; PoseTrack's neck is between the shoulders.
    names = np.array(POSETRACK15.names)
    assert [set(names[given]) for given in found.present] == [{"head_bottom", *pose_net.sure}] * 2
    # No compression changed what the networks saw, last of all: a server warms up with other pictures.
    np.testing.assert_array_equal(pose_net.seen[-1], np.maximum(picture(), noise))


def test_what_is_there_is_left_alone(data: Path, server: str) -> None:
    assert run(data, server, "--quiet").exit_code == 0
    (data / "dt" / "000002_clip.json").unlink()
    kept = (data / "dt" / "000001_folder.json").stat().st_mtime_ns
    result = run(data, server)
    assert "1 sequence tracked, 2 already there, 6 frames" in result.stderr
    assert (data / "dt" / "000001_folder.json").stat().st_mtime_ns == kept
    assert "0 sequences tracked, 3 already there" in run(data, server).stderr
    assert "3 sequences tracked, 18 frames" in run(data, server, "--overwrite").stderr
    assert (data / "dt" / "000001_folder.json").stat().st_mtime_ns > kept


@pytest.mark.parametrize(
    ("content", "said"),
    [('{"images": [{"id', "cannot be read"), (json.dumps(as_2018(walk(FRAMES - 1))), "frame 5 is missing")],
)
def test_what_is_there_is_a_whole_prediction(content: str, said: str, data: Path) -> None:
    shutil.copytree(data / "gt", data / "dt")
    file = data / "dt" / "000002_clip.json"
    file.write_text(content)
    result = run(data, NOBODY)
    assert result.exit_code == 1
    assert f"{file}" in result.stderr
    assert said in result.stderr
    assert f"Delete {file}, and its sequence is tracked again" in result.stderr


def test_predictions_that_nobody_knows_are_not_mixed_with_others(tmp_path: Path, server: str) -> None:
    for name in ("000001_a", "000002_b"):
        pictures(tmp_path / "videos" / name, frames=1)
        truth(tmp_path / "gt" / f"{name}.json", frames=1)
    found, scores = tmp_path / "dt" / "000001_a.json", written(tmp_path / "dt" / "scores.json", {"mota": 1})
    shutil.copy(tmp_path / "gt" / found.name, found)
    result = run(tmp_path, server)
    assert result.exit_code == 2
    assert "has predictions, as 000001_a.json, and no .posewire-run.json" in result.stderr
    assert run(tmp_path, server, "--overwrite").exit_code == 0  # other files are nobody's predictions
    assert found.read_bytes() != (tmp_path / "gt" / found.name).read_bytes()
    assert scores.exists()


def test_predictions_of_other_sequences_are_not_left_beside_what_is_made_otherwise(tmp_path: Path, server: str) -> None:
    for name in ("000001_a", "000002_b"):
        pictures(tmp_path / "videos" / name, frames=1)
        truth(tmp_path / "gt" / f"{name}.json", frames=1)
    assert run(tmp_path, server, "--similarity", "bbox").exit_code == 0
    (tmp_path / "gt" / "000002_b.json").unlink()
    before = (tmp_path / "dt" / "000001_a.json").read_bytes()
    result = run(tmp_path, server, "--similarity", "pose", "--overwrite")
    assert result.exit_code == 2
    assert "000002_b.json was made otherwise, and would stay" in result.stderr
    assert (tmp_path / "dt" / "000001_a.json").read_bytes() == before
    assert run(tmp_path, server, "--similarity", "bbox", "--overwrite").exit_code == 0
    (tmp_path / "dt" / ".posewire-run.json").unlink()
    assert "was made before, and no .posewire-run.json says with what" in run(tmp_path, server, "--overwrite").stderr


def test_predictions_of_other_settings_are_not_mixed(data: Path, server: str) -> None:
    assert run(data, server, "--similarity", "bbox").exit_code == 0
    (data / "dt" / "000002_clip.json").unlink()
    result = run(data, server, "--similarity", "pose", "--queue-length", "7")
    assert result.exit_code == 2
    assert "queue_length 15 there, 7 now, similarity 'bbox' there, 'pose' now" in result.stderr
    assert not (data / "dt" / "000002_clip.json").exists()
    assert run(data, server, "--similarity", "bbox").exit_code == 0


def test_a_complete_run_is_not_taken_for_one_of_other_settings(data: Path, server: str) -> None:
    assert run(data, server, "--similarity", "bbox").exit_code == 0
    for address in (server, NOBODY):  # a server that is not needed need not be there
        result = run(data, address, "--similarity", "pose")
        assert result.exit_code == 2
        assert "similarity 'bbox' there, 'pose' now" in result.stderr
        assert "0 sequences tracked, 3 already there" in run(data, address, "--similarity", "bbox").stderr
    # What is left out is the server's default.
    assert "similarity 'bbox' there, 'multi-flow' now" in run(data, server).stderr


def test_a_complete_run_is_not_taken_for_one_of_other_networks(data: Path, server: str) -> None:
    assert run(data, server).exit_code == 0
    others = networks()
    others = replace(others, names=replace(others.names, pose="another"))
    with serving(others) as address:
        result = run(data, address)
    assert result.exit_code == 2
    assert "'another' now" in result.stderr


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        ([], ""),
        (["--bundle", "nano"], ""),
        (["--detector", "onnx:/weights/yolox.onnx", "--flow", "auto"], ""),  # named without its folder
        (["--flow", "dis:fast", "--no-flip-test"], ""),
        (["--bundle", "paper-r50"], "bundle 'nano' there, 'paper-r50' now"),
        (["--detector", "onnx:other.onnx"], "detector 'onnx:yolox.onnx' there, 'onnx:other.onnx' now"),
        (["--flow", "none"], "flow 'dis:fast' there, 'none' now"),
        (["--flip-test"], "flip_test False there, True now"),
        (["--bundle", "nanno"], "unknown bundle 'nanno'"),
    ],
)
def test_flags_of_a_private_server_are_compared_without_starting_one(
    flags: list[str], said: str, data: Path, server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(data, server).exit_code == 0
    version = read_manifest(find_bundle("nano")).version
    noted(data, bundle="nano", bundle_version=version, detector="onnx:yolox.onnx", flow="dis:fast", flip_test=False)
    monkeypatch.setattr(private_server, "private_server", None)
    result = run(data, None, *flags)
    assert result.exit_code == (2 if said else 0)
    assert (said or "0 sequences tracked, 3 already there") in result.stderr


@pytest.mark.parametrize("complete", [True, False])
def test_versions_of_a_bundle_are_not_mixed(data: Path, server: str, complete: bool) -> None:
    assert run(data, server).exit_code == 0
    noted(data, bundle_version=8)
    if not complete:
        (data / "dt" / "000002_clip.json").unlink()
    result = run(data, server)
    assert result.exit_code == 2
    assert "bundle_version 8 there, 1 now" in result.stderr


def test_the_version_of_a_bundle_is_compared_without_starting_a_server(data: Path, server: str) -> None:
    assert run(data, server).exit_code == 0
    current = read_manifest(find_bundle("nano")).version
    noted(data, bundle="nano", bundle_version=current - 1)
    assert f"bundle_version {current - 1} there, {current} now" in run(data, None, "--bundle", "nano").stderr
    noted(data, bundle="nano", bundle_version=current)
    assert run(data, None, "--bundle", "nano").exit_code == 0


@pytest.mark.parametrize(
    ("note", "status", "said"),
    [
        ("{", 1, ".posewire-run.json cannot be read"),
        ("[]", 2, "made otherwise (by another version)"),
        ('{"frames": "jpeg"}', 2, "frames 'jpeg' there, 'png' now"),
    ],
)
def test_predictions_are_only_added_to_a_note_that_says_the_same(
    note: str, status: int, said: str, data: Path, server: str
) -> None:
    shutil.copytree(data / "gt", data / "dt")
    (data / "dt" / ".posewire-run.json").write_text(note)
    result = run(data, server)
    assert result.exit_code == status
    assert said in result.stderr
    assert (data / "dt" / ".posewire-run.json").read_text() == note


def test_a_server_that_is_not_needed_may_be_silent(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settings_note, "_ANSWER_S", 0.1)
    shutil.copytree(data / "gt", data / "dt")
    (data / "dt" / ".posewire-run.json").write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        result = run(data, f"127.0.0.1:{silent.getsockname()[1]}")
    assert result.exit_code == 0, result.stderr
    assert "0 sequences tracked, 3 already there" in result.stderr


def test_what_was_to_be_overwritten_is_gone_after_a_run_that_did_not_come_to_it(data: Path, server: str) -> None:
    assert run(data, server, "--similarity", "bbox").exit_code == 0
    clip(data / "videos" / "000002_clip.mp4", frames=4)
    assert run(data, server, "--similarity", "pose", "--overwrite").exit_code == 1
    assert not (data / "dt" / "000002_clip.json").exists()
    clip(data / "videos" / "000002_clip.mp4")
    assert "1 sequence tracked, 2 already there" in run(data, server, "--similarity", "pose").stderr


def test_a_sequence_that_fails_has_no_file_and_the_others_do(data: Path, server: str) -> None:
    spoilt = picture(3)
    spoilt[:16, :16] = 0, 0, 255
    cv2.imwrite(str(data / "videos" / "000001_folder" / "000003.png"), spoilt[..., ::-1])
    clip(data / "videos" / "000002_clip.mp4", frames=4)
    result = run(data, server)
    assert result.exit_code == 1
    assert "2 of 3 sequences without a prediction" in result.stderr
    assert "000001_folder: frame 3 failed" in result.stderr
    assert "000002_clip.mp4 ends before frame 4, which" in result.stderr
    assert [file.name for file in sorted((data / "dt").glob("0*.json"))] == ["000003_mpii_relpath.json"]
    clip(data / "videos" / "000002_clip.mp4")
    pictures_again = data / "videos" / "000001_folder" / "000003.png"
    cv2.imwrite(str(pictures_again), picture(3))
    assert "2 sequences tracked, 1 already there" in run(data, server).stderr


def test_pictures_beyond_the_truth_are_tracked_but_not_written(tmp_path: Path, server: str) -> None:
    pictures(tmp_path / "videos" / "walk", frames=9)
    truth(tmp_path / "gt" / "walk.json", first=2, frames=4)
    assert run(tmp_path, server).exit_code == 0
    found = read_posetrack(tmp_path / "dt" / "walk.json", predictions=True)
    assert [each.number for each in found.frames] == [2, 3, 4, 5]
    # poseval wants a number in the sequence's name.
    assert found.pictures == "images/000001_walk"


@pytest.mark.parametrize("first", [0, 1])
def test_frames_of_a_video_count_as_in_the_truth(first: int, tmp_path: Path, server: str) -> None:
    (tmp_path / "videos").mkdir()
    clip(tmp_path / "videos" / "000001_walk.mp4")
    truth(tmp_path / "gt" / "000001_walk.json", first=first)
    assert run(tmp_path, server).exit_code == 0
    found = read_posetrack(tmp_path / "dt" / "000001_walk.json", predictions=True)
    assert [each.number for each in found.frames] == list(range(first, first + FRAMES))


@pytest.mark.parametrize(
    ("numbers", "said"),
    [
        ([1, 3], "000001_walk.mp4 are counted from 1: the truth lists only some"),
        ([2, 3], "000001_walk.mp4 are counted from 0: the truth lists only some"),
        ([0, 3], None),
    ],
)
def test_a_truth_of_some_frames_does_not_say_how_a_video_counts(
    numbers: list[int], said: str | None, tmp_path: Path, server: str
) -> None:
    (tmp_path / "videos").mkdir()
    clip(tmp_path / "videos" / "000001_walk.mp4")
    content = sequence(*(frame(number, {1: pose(100)}) for number in numbers), name="000001_walk")
    written(tmp_path / "gt" / "000001_walk.json", as_2018(content))
    result = run(tmp_path, server, "--quiet")
    assert result.exit_code == 0, result.stderr
    assert "note" not in result.stderr if said is None else said in result.stderr


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda data: (data / "videos" / "000002_clip.mp4").unlink(), "has no video of the sequence '000002_clip'"),
        (
            lambda data: (data / "videos" / "000001_folder" / "000004.png").unlink(),
            "000001_folder has no picture of frame 4, which",
        ),
        (
            lambda data: cv2.imwrite(str(data / "videos" / "000001_folder" / "cover.png"), picture()),
            "cover.png: its name has no number",
        ),
        (
            lambda data: cv2.imwrite(str(data / "videos" / "000001_folder" / "4.png"), picture()),
            "000001_folder has two pictures of frame 4, 000004.png and 4.png",
        ),
        (lambda data: (data / "gt" / "000001_folder.json").write_text("{"), "000001_folder.json cannot be read"),
        (lambda data: [file.unlink() for file in (data / "gt").iterdir()], "gt holds no *.json"),
        (lambda data: (data / "videos").rename(data / "films"), "videos is not a folder"),
        (lambda data: (data / "dt").write_text(""), "dt cannot be made"),
    ],
)
def test_what_is_wrong_is_found_before_anything_is_tracked(spoil: Any, said: str, data: Path) -> None:
    spoil(data)
    result = run(data, NOBODY)
    assert result.exit_code == 1
    assert said in result.stderr


@pytest.mark.parametrize("flags", [[], ["--overwrite"]])
def test_the_truth_is_no_prediction_and_stays(flags: list[str], data: Path) -> None:
    (data / "dt").symlink_to(data / "gt")
    result = run(data, NOBODY, *flags)
    assert result.exit_code == 2
    assert f"would overwrite {data / 'gt' / '000001_folder.json'}, the ground truth" in result.stderr


def test_without_a_server_nothing_is_written(data: Path) -> None:
    result = run(data, NOBODY)
    assert result.exit_code == 1
    assert "127.0.0.1:1" in result.stderr
    assert not list((data / "dt").iterdir())
