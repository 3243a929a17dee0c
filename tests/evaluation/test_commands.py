"""`posewire eval` at the terminal: tables, JSON, exit statuses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from posewire.cli.application import app
from tests.evaluation.people import as_2017, as_2018, changed, pose, renamed, walk, written
from tests.evaluation.test_coco import people
from tests.evaluation.test_mot import WALK, files, lines


def run(*arguments: object) -> Any:
    # Narrower than the tables, whose numbers have to be whole all the same.
    return CliRunner(env={"COLUMNS": "40", "TERM": "dumb"}).invoke(app, ["eval", *map(str, arguments)])


def data_set(folder: Path, names: str = "abcdef") -> tuple[Path, Path]:
    """Some sequences; in the first one, two people swap their identities."""
    for place, name in enumerate(names):
        predicted = renamed(walk(), {1: 2, 2: 1}, first=2) if place == 0 else walk()
        as_file = as_2017 if place % 2 else as_2018
        written(folder / "gt" / f"{name}.json", as_file(walk()))
        written(folder / "dt" / f"{name}.json", as_2018(predicted, predictions=True))
    return folder / "gt", folder / "dt"


def test_posetrack(tmp_path: Path) -> None:
    gt, dt = data_set(tmp_path)
    result = run("posetrack", "--gt", gt, "--dt", dt, "--workers", 1, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.stderr
    assert "6 sequences, 30 labelled frames" in result.stdout
    table = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert table["joint"] == ["AP", "MOTA", "MOTP", "precision", "recall", "switches"]
    assert table["left_wrist"] == ["100.0", "95.8", "100.0", "100.0", "100.0", "2"]
    assert table["MOTA"] == ["95.8"] * 8  # Head, Shou, Elb, Wri, Hip, Knee, Ankl, Total
    assert f"wrote {tmp_path / 'out.json'}" in result.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["mota"]["total"] == pytest.approx(100 * (1 - 2 / 48))
    assert document["mota"]["by_part"]["Head"] == pytest.approx(document["mota"]["by_joint"]["nose"])
    assert document["switches"] == {"total": 30, "by_joint": dict.fromkeys(document["ap"]["by_joint"], 2)}
    assert document["identities"]["det_a"] == pytest.approx(100)
    assert document["notes"] == []


def test_as_many_processes_as_one_likes(tmp_path: Path) -> None:
    gt, dt = data_set(tmp_path)
    written(dt / "b.json", as_2018(walk()))
    for workers in (1, 2):
        out = tmp_path / f"{workers}.json"
        assert run("posetrack", "--gt", gt, "--dt", dt, "--workers", workers, "--json", out).exit_code == 0
    assert (tmp_path / "1.json").read_text() == (tmp_path / "2.json").read_text()
    (note,) = json.loads((tmp_path / "2.json").read_text())["notes"]  # the processes tell what is odd, too
    assert note.startswith(f"{dt / 'b.json'} has joints without a score")


def test_what_is_odd_is_said(tmp_path: Path) -> None:
    gt, dt = data_set(tmp_path, "ab")
    written(dt / "a.json", as_2018(changed(walk(), {t: {} for t in range(5)}), predictions=True))
    written(dt / "b.json", as_2018(walk()))
    written(gt / "c.json", as_2018(changed(walk(), {t: {} for t in range(5)})))
    written(dt / "c.json", as_2018(walk(), predictions=True))
    flat = as_2018(walk())
    flat["annotations"][2]["bbox_head"] = [5, 5, 0, 0]  # of frame 1
    written(gt / "d.json", flat)
    written(dt / "d.json", as_2018(walk(), predictions=True))
    written(dt / "e.json", as_2018(walk(), predictions=True))
    result = run("posetrack", "--gt", gt, "--dt", dt, "--workers", 1)
    assert result.exit_code == 0
    assert f"note: {dt / 'a.json'} has nobody in any of its 5 frames" in result.stderr
    assert f"note: {dt / 'b.json'} has joints without a score" in result.stderr
    assert f"note: {gt / 'c.json'} lists nobody in any frame" in result.stderr
    assert f"note: {gt / 'd.json'}: frame 1: somebody's head box has no extent" in result.stderr
    assert f"note: {dt / 'e.json'} has no truth" in result.stderr


@pytest.mark.parametrize("workers", [1, 2])
def test_a_faulty_file_ends_it(workers: int, tmp_path: Path) -> None:
    gt, dt = data_set(tmp_path)
    twice = as_2018(walk(), predictions=True)
    twice["annotations"][3]["track_id"] = 1
    written(dt / "e.json", twice)
    result = run("posetrack", "--gt", gt, "--dt", dt, "--workers", workers, "--json", tmp_path / "out.json")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr == f"posewire: {dt / 'e.json'}: frame 1: id 1 is given to 2 people; an id is one person's\n"
    assert not (tmp_path / "out.json").exists()


def test_names_must_be_the_same(tmp_path: Path) -> None:
    gt, dt = data_set(tmp_path, "ab")
    (dt / "b.json").rename(dt / "x.json")
    result = run("posetrack", "--gt", gt, "--dt", dt)
    assert result.exit_code == 1
    assert "has no prediction for b.json; it has x.json" in result.stderr


def test_coco(tmp_path: Path) -> None:
    truth, results = people(0)
    gt, dt = written(tmp_path / "gt.json", truth), written(tmp_path / "dt.json", results)
    result = run("coco", "--gt", gt, "--dt", dt, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.stderr
    document = json.loads((tmp_path / "out.json").read_text())
    assert (len(document["keypoints"]), len(document["boxes"])) == (10, 12)
    shown = [line.split() for line in result.stdout.splitlines() if line.strip()]
    assert shown[1] == list(document["keypoints"])
    assert shown[2] == [f"{value:.3f}" for value in document["keypoints"].values()]
    assert shown[4] == list(document["boxes"])
    assert shown[5] == [f"{value:.3f}" for value in document["boxes"].values()]


def test_mot(tmp_path: Path) -> None:
    gt, dt = files(tmp_path, {"A": WALK, "B": WALK}, {"A": WALK, "B": WALK[:-1]})
    result = run("mot", "--gt", gt, "--dt", dt, "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.stderr
    rows = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert rows["OVERALL"][0] == "93.8"
    assert (rows["sequence"][0], rows["sequence"][-1]) == ("MOTA", "LocA")
    assert all("…" not in cell for row in rows.values() for cell in row)
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["sequences"]["B"]["num_misses"] == 1
    assert document["sequences"]["A"]["trackeval"]["hota"] == pytest.approx(100)
    assert document["notes"] == []
    (dt / "A.txt").write_text("")
    result = run("mot", "--gt", gt, "--dt", dt, "--json", tmp_path / "out.json")
    (note,) = json.loads((tmp_path / "out.json").read_text())["notes"]
    assert note == f"{dt / 'A.txt'} has nobody in any frame"
    assert f"note: {note}" in result.stderr
    (dt / "A.txt").write_text(lines([*WALK, WALK[0]]))
    result = run("mot", "--gt", gt, "--dt", dt)
    assert result.exit_code == 1
    assert "A.txt: frame 1: id 1 is given to 2 boxes" in result.stderr


@pytest.mark.parametrize("out", ["gt/a.json", "dt/a.json", "link.json", "gt/../dt/b.json"])
def test_neither_truth_nor_predictions_are_overwritten(out: str, tmp_path: Path) -> None:
    gt, dt = data_set(tmp_path, "ab")
    (tmp_path / "link.json").symlink_to(gt / "b.json")
    before = {file: file.read_bytes() for file in tmp_path.rglob("*.json")}
    result = run("posetrack", "--gt", gt, "--dt", dt, "--json", tmp_path / out)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "would overwrite" in result.stderr
    assert "which is read; give --json another name" in result.stderr
    assert {file: file.read_bytes() for file in tmp_path.rglob("*.json")} == before


@pytest.mark.parametrize("out", ["gt/scores.json", "dt/../gt/scores.JSON"])
def test_scores_do_not_become_truth(out: str, tmp_path: Path) -> None:
    gt, dt = data_set(tmp_path, "a")
    result = run("posetrack", "--gt", gt, "--dt", dt, "--json", tmp_path / out)
    assert result.exit_code == 2
    assert "would be read as truth the next time; give a path outside of" in result.stderr
    assert not (tmp_path / out).exists()


@pytest.mark.parametrize("out", ["gt/A.txt", "gt/B/gt/gt.txt", "dt/A.txt"])
def test_nor_are_those_of_motchallenge(out: str, tmp_path: Path) -> None:
    gt, dt = files(tmp_path, {"A": WALK}, {"A": WALK, "B": WALK})
    (gt / "B" / "gt").mkdir(parents=True)
    (gt / "B" / "gt" / "gt.txt").write_text(lines(WALK))
    result = run("mot", "--gt", gt, "--dt", dt, "--json", tmp_path / out)
    assert result.exit_code == 2
    assert "which is read; give --json another name" in result.stderr
    assert (tmp_path / out).read_text() == lines(WALK)
    result = run("mot", "--gt", gt, "--dt", dt, "--json", gt / "C.txt")
    assert (result.exit_code, (gt / "C.txt").exists()) == (2, False)
    for _ in range(2):  # other files of these folders are nobody's truth
        assert run("mot", "--gt", gt, "--dt", dt, "--json", gt / "scores.json").exit_code == 0


@pytest.mark.parametrize(
    ("command", "package"), [("coco", "pycocotools.coco"), ("posetrack", "motmetrics"), ("mot", "motmetrics")]
)
def test_what_is_missing_can_be_installed(command: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.startswith("posewire_evaluation")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    result = run(command, "--gt", "gt", "--dt", "dt")
    assert result.exit_code == 1
    assert f"`posewire eval {command}` needs the package {package}" in result.stderr
    assert "pip install 'posewire[eval]'" in result.stderr


def test_the_folder_of_the_document_is_looked_for_first(tmp_path: Path) -> None:
    result = run("coco", "--gt", "gt.json", "--dt", "dt.json", "--json", tmp_path / "nowhere" / "out.json")
    assert result.exit_code == 1
    assert "the folder" in result.stderr
    assert "does not exist" in result.stderr


def test_a_value_that_is_not_there_is_a_dash_and_null(tmp_path: Path) -> None:
    noses = changed(walk(), {t: {1: pose(100, only=["nose"])} for t in range(5)})
    written(tmp_path / "gt" / "a.json", as_2018(noses))
    whole = changed(walk(), {t: {1: pose(100)} for t in range(5)})
    written(tmp_path / "dt" / "a.json", as_2018(whole, predictions=True))
    result = run("posetrack", "--gt", tmp_path / "gt", "--dt", tmp_path / "dt", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.stderr
    table = {line.split()[0]: line.split()[1:] for line in result.stdout.splitlines() if line.strip()}
    assert table["nose"] == ["100.0", "100.0", "100.0", "100.0", "100.0", "0"]
    assert table["left_knee"] == ["-", "-", "0.0", "0.0", "-", "0"]
    document = json.loads((tmp_path / "out.json").read_text())
    assert document["mota"]["by_joint"]["left_knee"] is None
    assert document["mota"]["by_part"]["Knee"] is None
    assert document["mota"]["total"] == 100
