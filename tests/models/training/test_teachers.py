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
