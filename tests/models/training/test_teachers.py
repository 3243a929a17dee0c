from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from posewire_models.training import teachers
from posewire_models.training.readers.label_file import LabelFileError
from posewire_models.training.readers.teacher import teacher_lines

LINE = '{"picture": "a.png", "size": [1, 1], "people": []}\n'


def test_a_teacher_that_was_stopped_in_mid_line_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    out, pictures, asked = tmp_path / "out.jsonl", tmp_path / "pictures", []
    pictures.mkdir()
    for name in ("a.png", "b.png", "c.png"):
        cv2.imwrite(str(pictures / name), np.zeros((4, 5, 3), np.uint8))
    out.write_text(LINE + LINE[:20].replace("a", "b"))

    def label(*arguments: Any) -> list[dict[str, Any]]:
        asked.append(len(out.read_text().splitlines()))  # each is in the file before the next one is asked for
        return []

    monkeypatch.setattr(teachers, "YoloxBoxes", lambda file: None)
    monkeypatch.setattr(teachers, "MoveNet", lambda file: None)
    monkeypatch.setattr(teachers, "label_picture", label)
    monkeypatch.setattr(sys, "argv", f"teachers {pictures} --detector d --poser p --out {out}".split())
    teachers.main()
    assert [record["picture"] for record in teacher_lines(out)] == ["a.png", "b.png", "c.png"]
    assert asked == [1, 2]
    assert "last line is incomplete" in caplog.text


def test_what_is_labelled_already(tmp_path: Path) -> None:
    assert teachers.already_labelled(tmp_path / "none") == set()
    (tmp_path / "out.jsonl").write_text("{oops\n" + LINE)
    with pytest.raises(LabelFileError, match="line 1: not JSON"):
        teachers.already_labelled(tmp_path / "out.jsonl")


def test_frames_of_videos_are_stored_or_the_reason_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    video, damaged = tmp_path / "v.avi", tmp_path / "damaged.mp4"
    writer = cv2.VideoWriter(str(video), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 48))
    for _ in range(4):
        writer.write(np.zeros((48, 64, 3), np.uint8))
    writer.release()
    damaged.write_bytes(b"no video")
    (tmp_path / "frames").mkdir()
    assert [name for name, _ in teachers._frames(video, 2, tmp_path / "frames")] == ["v_00001.webp", "v_00003.webp"]
    assert sorted(file.name for file in (tmp_path / "frames").iterdir()) == ["v_00001.webp", "v_00003.webp"]
    with pytest.raises(FileNotFoundError):
        next(teachers._frames(video, 2, tmp_path / "absent"))
    assert list(teachers._frames(damaged, 2, tmp_path / "frames")) == []
    assert f"{damaged} cannot be read as a video; skipped" in caplog.text


def test_boxes_of_known_people_are_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((4, 5, 3), np.uint8))
    boxes = tmp_path / "boxes.json"
    boxes.write_text('{"a.png": [[1, 2, null, 4]]}')
    monkeypatch.setattr(teachers, "YoloxBoxes", lambda file: None)
    monkeypatch.setattr(teachers, "MoveNet", lambda file: None)
    flags = f"teachers {tmp_path} --detector d --poser p --out {tmp_path}/out.jsonl --boxes {boxes}"
    monkeypatch.setattr(sys, "argv", flags.split())
    with pytest.raises(SystemExit):
        teachers.main()
    assert "boxes.json: a.png: finite numbers are expected" in capsys.readouterr().err
    assert (tmp_path / "out.jsonl").read_text() == ""
