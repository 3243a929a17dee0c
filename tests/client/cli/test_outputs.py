"""Folders of results: unwritable ones are detected before any work."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import cv2
import pytest
from typer.testing import CliRunner

from posewire.cli.application import app
from posewire.cli.failures import CommandError
from posewire.cli.outputs import check_folder, check_outputs, make_folder
from posewire.errors import OutputError
from tests.evaluation.people import as_2018, frame, pose, sequence, written
from tests.server.stand_ins import picture


@pytest.fixture
def _read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Like folders of other users, except for root."""

    def refuse(dir: Path) -> None:  # noqa: A002  # as it is called
        raise PermissionError(13, "Permission denied", str(dir))

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)


def test_a_folder_is_made(tmp_path: Path) -> None:
    make_folder(tmp_path / "a" / "b")
    make_folder(tmp_path / "a" / "b")
    assert list((tmp_path / "a" / "b").iterdir()) == []


def test_a_look_at_a_folder_leaves_nothing(tmp_path: Path) -> None:
    check_folder(tmp_path / "a" / "b")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(CommandError, match=r"file/b cannot be made or written to: Not a directory"):
        check_folder(tmp_path / "file" / "b")
    (tmp_path / "link").symlink_to("nowhere")
    with pytest.raises(CommandError, match=r"link cannot be made or written to: File exists"):
        make_folder(tmp_path / "link")


def test_a_file_that_cannot_be_made_is_found_out_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    check_outputs({"--out": tmp_path / "out.json"})
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr(os, "open", refuse)
    with pytest.raises(OutputError, match=r"out.json cannot be written: Permission denied"):
        check_outputs({"--out": tmp_path / "out.json"})


def test_a_folder_that_cannot_be_looked_at_is_not_said_to_be_missing(tmp_path: Path) -> None:
    """For root, a name that is too long stands in for a folder without permission: both fail with another error."""
    folder = tmp_path / ("a" * 300)
    with pytest.raises(CommandError, match=r"out.json cannot be written: File name too long"):
        check_outputs({"--out": folder / "out.json"}, [folder / "walk.mp4"])
    with pytest.raises(CommandError, match=r"cannot be made or written to: File name too long"):
        make_folder(folder / "b")


@pytest.mark.usefixtures("_read_only")
def test_a_folder_that_is_there_may_be_closed_to_us(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"cannot be made or written to: Permission denied"):
        make_folder(tmp_path)


@pytest.mark.usefixtures("_read_only")
@pytest.mark.parametrize("done", [True, False])
def test_a_data_set_that_is_done_may_be_read_only(done: bool, tmp_path: Path) -> None:
    (tmp_path / "videos" / "000001_walk").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "videos" / "000001_walk" / "000000.png"), picture())
    for folder in ("gt", "dt")[: 1 + done]:
        written(tmp_path / folder / "000001_walk.json", as_2018(sequence(frame(0, {1: pose(100)}))))
    folders = [f"--videos={tmp_path / 'videos'}", f"--gt={tmp_path / 'gt'}", f"--out={tmp_path / 'dt'}"]
    result = CliRunner().invoke(app, ["run-dataset", *folders, "--server", "127.0.0.1:1"])
    assert result.exit_code == (0 if done else 1)
    assert ("1 already there" if done else "Permission denied") in result.stderr
