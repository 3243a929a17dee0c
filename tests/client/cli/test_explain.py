"""The table of `posewire explain`."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from posewire.cli.explain import _print
from posewire_server.recording.verdicts import Candidate, PoseVerdict
from posewire_server.tracking import TrackerConfig


def test_poses_and_their_candidates_are_told_in_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    followed = PoseVerdict(
        pose=0, box=(10.4, 20.6, 50.4, 120.6), source="detector", score=0.9, id=4, why="continues id 4",
        candidates=(
            Candidate(track=4, frames_ago=1, similarity=0.8125, won=True, why="highest similarity of all open pairs"),
            Candidate(track=2, frames_ago=3, similarity=0.25, won=False, why="below match_threshold (0.3)"),
        ),
    )  # fmt: skip
    nobody = PoseVerdict(pose=1, box=(0, 0, 9, 9), source="flow", score=0.1, id=0, why="pose NMS")
    explanation: Any = SimpleNamespace(
        number=6, config=TrackerConfig(), detector_ran=False, poses=[followed, nobody], ids=[4]
    )
    _print(explanation)
    head, *rows = (" ".join(line.split()) for line in capsys.readouterr().out.splitlines())
    assert head.startswith("frame 6: similarity ")
    assert head.endswith(", detector did not run, 2 poses, ids 4")
    assert rows == [
        "pose box track seen similarity why",
        "0 detector 10,21 40x100 4 = continues id 4",
        "4 last frame 0.812 + highest similarity of all open pairs",
        "2 3 frames ago 0.250 below match_threshold (0.3)",
        "1 flow 0,0 9x9 - x pose NMS",
    ]
    explanation.poses = [nobody]
    _print(explanation)
    assert ", 1 pose, ids" in capsys.readouterr().out
