"""What `track`, `demo` and similar commands reject before any work: no files are lost, and nothing hangs."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import cv2
import numpy as np
import pytest
from typer.testing import CliRunner

from posewire import FrameResult, FrameStatus, PosewireError, SourceError, TrackerSettings
from posewire.cli import streaming
from posewire.cli.application import app
from posewire.cli.failures import CommandError, ExitStatus, UsageError
from posewire.cli.interrupts import Interrupts
from posewire.cli.outputs import check_outputs
from posewire.cli.private_server import ServerChoice
from posewire.cli.streaming import Outcome, check_source, consume, report
from posewire.cli.track import TrackJob, run_track


@pytest.fixture
def place(tmp_path: Path, make_video: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a video, a link to it and pictures; no server can be started."""

    def no_server(*_: object, **__: object) -> None:
        raise AssertionError("a server was started")

    monkeypatch.setattr(subprocess, "Popen", no_server)
    monkeypatch.chdir(tmp_path)
    make_video(tmp_path / "my.mp4", frames=2)
    os.symlink("my.mp4", "link.mp4")
    os.mkdir("pics")
    cv2.imwrite("pics/1.jpg", np.zeros((48, 64, 3), np.uint8))
    shutil.copy("pics/1.jpg", "gt.json")
    return tmp_path


def run(*arguments: str) -> Any:
    return CliRunner(env={"COLUMNS": "200", "TERM": "dumb"}).invoke(app, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("track my.mp4 --out my.mp4", "--out my.mp4 would overwrite my.mp4"),
        ("track my.mp4 --render ./pics/../my.mp4", "--render pics/../my.mp4 would overwrite my.mp4"),
        ("track my.mp4 --out link.mp4", "--out link.mp4 would overwrite my.mp4"),  # a link to the source
        ("track link.mp4 --out my.mp4", "--out my.mp4 would overwrite link.mp4"),  # or the source is the link
        ("demo my.mp4 --render my.mp4", "--render my.mp4 would overwrite my.mp4"),
        ("track pics --out pics/1.jpg", "--out pics/1.jpg would overwrite pics/1.jpg"),  # one of the pictures
        ("poses pics --out pics/1.jpg", "--out pics/1.jpg would overwrite pics/1.jpg"),
        ("poses pics --boxes gt.json --out gt.json", "--out gt.json would overwrite gt.json"),
        ("eval coco --gt gt.json --dt dt.json --json gt.json", "--json gt.json would overwrite gt.json"),
        ("track my.mp4 --render both.mp4 --out both.mp4", "--out both.mp4 and --render both.mp4 are the same file"),
        ("track my.mp4 --render both.mp4 --out pics/../both.mp4", "are the same file; give one another name"),
        # standard output is for results that come line by line
        ("poses pics --out -", "give a file name"),
        ("eval coco --gt gt.json --dt dt.json --json -", "give a file name"),
        ("track my.mp4 --render -", "give a file name"),
        # names of no video format that can be written
        ("track my.mp4 --render r.webm", "ends in one of .mp4, .mkv, .mov"),
        ("track my.mp4 --render r.gif", "ends in one of .mp4, .mkv, .mov"),
        ("demo my.mp4 --render r.jpg", "ends in one of .mp4, .mkv, .mov"),
        ("demo --render video", "ends in one of .mp4, .mkv, .mov"),
    ],
)
def test_what_is_refused_before_any_work(arguments: str, said: str, place: Path) -> None:
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    result = run(*arguments.split())
    assert result.exit_code == 2, result.output
    assert said in result.stderr
    assert result.stdout == ""
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("out", ["other.jsonl", "pics/new.jsonl", "pics/2.jpg", "pics/old.jsonl"])
def test_other_files_may_be_written(out: str, place: Path) -> None:
    (place / "pics" / "old.jsonl").touch()  # beside the pictures, but none
    check_outputs({"--out": Path(out), "--render": Path("r.mp4"), "--json": None}, ["my.mp4", "pics", "rtsp://h/my"])


def test_two_outputs_may_go_to_one_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    check_outputs({"--out": pipe, "--render": pipe})


def test_an_output_may_not_be_the_pipe_that_is_read(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(UsageError, match="would overwrite"):
        check_outputs({"--out": pipe}, [str(pipe)])


def test_a_link_into_a_folder_that_is_missing_is_found_out(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "nowhere" / "out.jsonl")
    with pytest.raises(CommandError, match="nowhere does not exist"):
        check_outputs({"--out": link})


@pytest.mark.parametrize("source", ["pipe.ts", "0", "/dev/video0", "rtsp://host/door"])
def test_what_cannot_be_opened_twice_is_not_opened_before_it_is_tracked(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The writer of a pipe would find it closed, and the command would wait for another writer forever."""

    def opened(source: str) -> None:
        raise AssertionError(f"{source} was opened")

    monkeypatch.setattr(streaming, "open_source", opened)
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe.ts")
    check_source(source)


@pytest.mark.parametrize("source", ["²", "٣", "7"])
def test_a_name_of_digits_is_a_file_where_it_is_no_number(
    source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Or where there is such a file."""
    monkeypatch.chdir(tmp_path)
    if source == "7":
        (tmp_path / source).write_text("notes")
    with pytest.raises(SourceError, match=source):
        check_source(source)


def test_results_are_not_sent_to_a_closed_standard_output(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdout", None)  # as `>&-` leaves it
    with pytest.raises(CommandError, match="standard output is closed"):
        run_track(TrackJob("0", ServerChoice("127.0.0.1:1"), TrackerSettings(), out=Path("-")))


def test_the_first_seconds_count_from_the_first_frame_and_only_pictures_make_a_video() -> None:
    picture = np.zeros((48, 64, 3), np.uint8)
    results = [FrameResult(n, 100 + n / 4, image=picture if n == 1 else None) for n in range(9)]
    stream: Any = MagicMock(source=None, __iter__=lambda _: iter(results))
    with Interrupts() as interrupts:
        outcome = consume(stream, [], interrupts, quiet=True, seconds=1.0)
    assert (outcome.account.frames, outcome.pictures) == (4, 1)


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Outcome(), 0),
        (Outcome(interrupted=True), ExitStatus.INTERRUPTED),
        (Outcome(interrupted=True, live=True), 0),  # how one ends a camera
    ],
)
def test_the_exit_status_of_an_outcome(outcome: Outcome, status: int) -> None:
    assert outcome.status == status


@pytest.mark.parametrize("interrupted", [False, True])
@pytest.mark.parametrize(
    ("became", "live", "status"),
    [
        (FrameStatus.FAILED, False, ExitStatus.INCOMPLETE),
        (FrameStatus.FAILED, True, ExitStatus.INCOMPLETE),
        (FrameStatus.DROPPED, False, ExitStatus.INCOMPLETE),
        (FrameStatus.DROPPED, True, 0),  # what a camera's frames are for
        (None, False, ExitStatus.INCOMPLETE),  # the stream broke
        (None, True, ExitStatus.INCOMPLETE),
    ],
)
def test_what_was_not_tracked_is_status_1(
    became: FrameStatus | None, live: bool, status: int, interrupted: bool
) -> None:
    outcome = Outcome(live=live, interrupted=interrupted)
    if became is None:
        outcome.failure = PosewireError("it broke")
    else:
        outcome.account.add(FrameResult(0, 0.0, became, reason="for a reason"))
    assert outcome.status == (ExitStatus.INTERRUPTED if interrupted and not live else status)


@pytest.mark.parametrize(("live", "said"), [(False, "2 of 4 frames without a result"), (True, "1 of 4 frames without")])
def test_how_many_frames_have_no_result_is_said(live: bool, said: str, capsys: pytest.CaptureFixture[str]) -> None:
    outcome = Outcome(live=live)
    for became in FrameStatus:
        outcome.account.add(FrameResult(0, 0.0, became, reason="reason"))
    outcome.account.add(FrameResult(1, 0.0))
    for quiet in (False, True):
        report(outcome, quiet=quiet)
        assert said in capsys.readouterr().err


def test_a_video_without_a_picture_is_not_said_to_be_written(capsys: pytest.CaptureFixture[str]) -> None:
    report(Outcome(), results=Path("o.jsonl"), video=Path("o.mp4"), quiet=False)
    said = capsys.readouterr().err
    assert "wrote o.jsonl" in said
    assert "wrote o.mp4" not in said
    assert "o.mp4 was not written" in said
    report(Outcome(pictures=1), video=Path("o.mp4"), quiet=False)
    assert "wrote o.mp4" in capsys.readouterr().err
