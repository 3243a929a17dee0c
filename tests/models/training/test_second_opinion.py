from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from posewire.joints import COCO17
from posewire.synth import Scene, SceneConfig
from posewire_models.frames import Frame
from posewire_models.training.readers import read_teacher
from posewire_models.training.second_opinion import joints_to_learn, main, with_second_opinion

Floats = npt.NDArray[np.float32]


@pytest.mark.parametrize(
    ("teacher", "second", "learned"),
    [
        ((10, 20, 0.5), (12, 20, 0.1), (11, 20, 0.5)),  # they agree, however unsure the second one is
        ((10, 20, 0.9), (40, 20, 0.7), (40, 20, 0.7)),  # they do not, and the second one is sure
        ((10, 20, 0.9), (40, 20, 0.5), None),  # they do not, and who is right?
        ((10, 20, 0.1), (12, 20, 0.8), (12, 20, 0.8)),  # the teacher did not see it
        ((10, 20, 0.1), (12, 20, 0.5), None),  # nobody did
    ],
)
def test_which_joints_are_learned(
    teacher: tuple[float, ...], second: tuple[float, ...], learned: tuple[float, ...] | None
) -> None:
    (joint,) = joints_to_learn(np.array([teacher], np.float32), np.array([second], np.float32), side=100.0)
    if learned is None:
        assert joint[2] == 0
    else:
        assert joint == pytest.approx(learned)


def a_person(given: int, score: float, joints: Any) -> dict[str, Any]:
    return {"given": given, "box": [0, 0, 100, 100, score], "joints": joints}


def test_only_people_who_are_learned_from_are_asked_about(tmp_path: Path) -> None:
    asked = []

    def pose(frames: Sequence[Frame], boxes: Sequence[Floats]) -> list[Floats]:
        asked.append(boxes[0])
        return [np.full((len(boxes[0]), len(COCO17), 3), 0.9, np.float32)]

    cv2.imwrite(str(tmp_path / "1.png"), np.zeros((100, 100, 3), np.uint8))
    joints = [[50.0, 50.0, 0.9]] * len(COCO17)
    # One whom somebody labelled, one whom the detector is sure of but the teacher saw nothing of, and a doubtful one.
    record = {
        "picture": "1.png",
        "people": [a_person(0, 0.1, joints), a_person(-1, 0.8, []), a_person(-1, 0.2, joints)],
    }
    answer = with_second_opinion(record, tmp_path, pose, COCO17)
    assert answer is not None
    assert [len(boxes) for boxes in asked] == [2]
    assert [np.allclose(one["joints"], 0.9) for one in answer["people"]] == [True, True, False]
    assert record["people"][1]["joints"] == []  # the caller's line is as it was

    assert with_second_opinion(record | {"picture": "2.png"}, tmp_path, pose, COCO17) is None


def test_a_bundle_is_asked_from_end_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = Scene(SceneConfig.preset("easy", seed=3, people=2))[30]
    cv2.imwrite(str(tmp_path / "7.png"), frame.image[:, :, ::-1])
    people = [{"given": -1, "box": [*box.tolist(), 0.9], "joints": []} for box in frame.truth.boxes]
    lines, out = tmp_path / "lines.jsonl", tmp_path / "out.jsonl"
    lines.write_text(
        "".join(json.dumps({"picture": name, "people": people}) + "\n" for name in ("7.png", "absent.png"))
    )
    monkeypatch.setattr(
        sys, "argv", ["second_opinion", str(lines), str(tmp_path), "--out", str(out), "--device", "cpu"]
    )
    main()
    (picture,) = read_teacher(out, tmp_path, COCO17)  # the absent one's line is left out
    assert len(picture.people) == 2
    for found, drawn in zip(picture.people, frame.truth.joints, strict=True):
        sure = found.joints[:, 2] > 0
        assert sure.sum() >= 7  # the teacher had seen none
        apart = np.linalg.norm(found.joints[:, :2] - drawn[: len(COCO17), :2], axis=1)[sure]
        assert np.median(apart) < 0.05 * (found.box[3] - found.box[1])


def test_the_lines_that_are_read_are_not_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines = tmp_path / "lines.jsonl"
    lines.write_text("{}")
    monkeypatch.setattr(sys, "argv", ["second_opinion", str(lines), str(tmp_path), "--out", str(lines)])
    with pytest.raises(SystemExit):
        main()
    assert lines.read_text() == "{}"
