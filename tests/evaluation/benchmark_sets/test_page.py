"""The tables of the results page, from scores made up for each set, fault, flow and tracker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from posewire_evaluation.ablation.scores import Scores
from posewire_evaluation.benchmark_sets import page
from posewire_evaluation.benchmark_sets.faults import FAULTS
from posewire_evaluation.benchmark_sets.page import Results, compare, tasks_of, write_results
from posewire_evaluation.benchmark_sets.scenes import SETS
from posewire_evaluation.benchmark_sets.trackers import ALL_TRACKERS, SetSize, Task

FLAT = Scores(mean_ap=70.0, mota=50.0, idf1=40.0, hota=30.0, switches=2.5, precision=90.0, recall=80.0)


def made_up(size: SetSize, tasks: Sequence[Task], **_: Any) -> list[list[Scores]]:
    """MOTA rises by 1 from set to set and by 10 from tracker to tracker."""
    return [
        [
            replace(FLAT, mota=SETS.index(task.set_name) + 10.0 * ALL_TRACKERS.index(tracker))
            for tracker in task.trackers
        ]
        for task in tasks
    ]


@pytest.fixture
def results(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Results:
    monkeypatch.setattr(page, "run_tasks", made_up)
    monkeypatch.setattr(page, "save", lambda drawing, path: path.write_bytes(b"drawn"))  # which takes a second
    return compare(ALL_TRACKERS, SetSize(1, 30, tmp_path), workers=0)


def section(text: str, title: str) -> list[list[str]]:
    """The cells of the table below a heading."""
    lines = text.split(f"### {title}\n\n")[1].split("\n\n")[0].strip().splitlines()
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if not line.startswith("|-")]


def test_every_tracker_meets_every_set_and_fault(results: Results) -> None:
    assert results.trackers() == [tracker.name for tracker in ALL_TRACKERS]
    assert {(task.set_name, task.fault) for task in tasks_of(ALL_TRACKERS)} == {(s, f) for s in SETS for f in FAULTS}


def test_tables_show_the_score_at_its_place(results: Results, tmp_path: Path) -> None:
    text = write_results(results, tmp_path)
    rows = section(text, "MOTA, set by set, all faults")
    assert rows[0] == ["tracker", *SETS, "mean"]
    assert rows[2] == ["pose", "10.0", "11.0", "12.0", "13.0", "14.0", "15.0", "12.5"]
    assert rows[-1] == ["Norfair", "**90.0**", "**91.0**", "**92.0**", "**93.0**", "**94.0**", "**95.0**", "**92.5**"]
    by_fault = section(text, "MOTA, fault by fault, mean of the sets")
    assert by_fault[0] == ["tracker", *FAULTS]
    assert by_fault[1] == ["bbox", *["2.5"] * len(FAULTS)]


def test_flows_stand_side_by_side(results: Results, tmp_path: Path) -> None:
    for (name, fault, flow, tracker), scores in list(results.scores.items()):
        if flow is page.FlowKind.NETWORK:
            results.scores[name, fault, flow, tracker] = replace(scores, idf1=41.0)
    rows = section(write_results(results, tmp_path), "True flow, the network and DIS")
    kinds = ["true", "network", "dis"]
    assert rows[0] == ["MOTA / IDF1", *(f"{fault}, {kind}" for fault in ("missed", "low-rate") for kind in kinds)]
    assert rows[1] == ["bbox", *["2.5 / 40.0", "2.5 / 41.0", "2.5 / 40.0"] * 2]
    assert len(rows) == 1 + 8  # those that use flow: not the baselines


def test_what_must_hold_is_checked(results: Results, tmp_path: Path) -> None:
    rows = section(write_results(results, tmp_path), "What the paper's order says")
    assert {row[-1] for row in rows[1:]} == {"yes"}
    key = ("occlusion", "missed", page.FlowKind.DIS, "flow + propagation")
    results.scores[key] = replace(FLAT, mota=99.0)  # above multi-flow
    rows = section(write_results(results, tmp_path), "What the paper's order says")
    (broken,) = [row for row in rows if row[-1] == "**no**"]
    assert broken[:2] == ["occlusion", "dis"]
    assert "flow 99.0" in broken[2]


def test_files_are_written(results: Results, tmp_path: Path) -> None:
    text = write_results(results, tmp_path / "out")
    assert (tmp_path / "out" / "tables.md").read_text() == text
    assert (tmp_path / "out" / "faults.png").read_bytes() == b"drawn"
    lines = (tmp_path / "out" / "results.csv").read_text().splitlines()
    assert len(lines) == 1 + len(results.scores)
    assert lines[1] == "easy,none,dis,bbox,70.0,0.0,40.0,30.0,2.5,90.0,80.0"
