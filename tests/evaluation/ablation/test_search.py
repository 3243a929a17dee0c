from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from posewire_evaluation.ablation.scores import Scores
from posewire_evaluation.ablation.search import PARAMETERS, Objective, Search, mean_scores, search, write_search
from posewire_evaluation.ablation.tables import as_markdown, as_text
from posewire_evaluation.errors import EvaluationError
from posewire_server.tracking import TrackerConfig


def scores(mota: float, idf1: float = 0.0) -> Scores:
    return Scores(mean_ap=1.0, mota=mota, idf1=idf1, hota=2.0, switches=3.0, precision=4.0, recall=5.0)


class Hill:
    """MOTA falls with the distance from one setting; a queue of 5 alone is better than any other."""

    def __init__(self) -> None:
        self.asked: list[TrackerConfig] = []

    def __call__(self, configs: Sequence[TrackerConfig]) -> list[Scores]:
        assert configs
        self.asked += configs
        return [
            scores(-abs(c.queue_length - 5) - 10 * abs(c.box_nms_iou - 0.7), idf1=c.match_threshold) for c in configs
        ]


def test_each_parameter_is_changed_alone() -> None:
    found = search(Hill(), samples=0)
    start = TrackerConfig()
    assert list(found.curves) == list(PARAMETERS)
    by_queue = {value: each.mota for value, each in found.curves["queue_length"]}
    # -|5 - 5| - 10 |0.5 - 0.7| = -2
    assert by_queue[5] == pytest.approx(-2)
    assert by_queue[1] == pytest.approx(-6)
    best, best_scores = found.tried[0]
    assert best == TrackerConfig(queue_length=5)
    assert best_scores.mota == pytest.approx(-2)
    assert start in [config for config, _ in found.tried]


def test_nothing_is_tried_twice_and_a_seed_repeats_the_search() -> None:
    first, second, third = Hill(), Hill(), Hill()
    a, b = search(first, samples=30, seed=4), search(second, samples=30, seed=4)
    search(third, samples=30, seed=5)
    assert len(set(first.asked)) == len(first.asked)
    assert first.asked == second.asked != third.asked
    assert a == b


def test_the_objective_decides() -> None:
    assert search(Hill(), objective=Objective.IDF1, samples=0).tried[0][0].match_threshold == 0.5


def test_without_values_there_is_nothing_to_search() -> None:
    with pytest.raises(EvaluationError, match="mota has no value on these data"):
        search(lambda configs: [scores(math.nan, idf1=1.0)] * len(configs), samples=0)
    assert search(
        lambda configs: [scores(math.nan, idf1=1.0)] * len(configs), objective=Objective.IDF1, samples=0
    ).tried


@pytest.mark.parametrize(("place", "lines"), [(3, 10), (10, 10), (15, 11)])
def test_the_present_settings_are_shown_once(place: int, lines: int, tmp_path: Path) -> None:
    ranked = [(TrackerConfig(queue_length=n), scores(100.0 - n)) for n in range(101, 121)]
    ranked.insert(place - 1, (TrackerConfig(), scores(0.0)))
    text = write_search(Search(Objective.MOTA, TrackerConfig(), {"queue_length": [(1, scores(1.0))]}, ranked), tmp_path)
    listed = text.split("all together")[1].splitlines()[2:]
    assert len(listed) == lines
    assert sum(line.split()[0] == str(TrackerConfig().queue_length) for line in listed) == 1


def test_ties_go_to_the_fewest_changes() -> None:
    found = search(lambda configs: [scores(1.0)] * len(configs), samples=20)
    assert found.tried[0][0] == found.start


def test_what_is_no_worse_is_best_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posewire_evaluation.ablation.search._plot", lambda *_: None)
    text = write_search(search(lambda configs: [scores(1.0)] * len(configs), samples=0), tmp_path)
    start = TrackerConfig()
    for name in PARAMETERS:
        assert f"{name}: now {getattr(start, name):g}, best alone {getattr(start, name):g}\n" in text


def test_the_report_says_what_is_best(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    text = write_search(search(Hill(), samples=5), out)
    assert "queue_length: now 15, best alone 5" in text
    assert (out / "tune.txt").read_text() == text
    assert (out / "tune.png").read_bytes().startswith(b"\x89PNG")
    assert (out / "tune.csv").read_text().startswith("queue_length,box_nms_iou,match_threshold,")


@pytest.mark.parametrize("objective", [Objective.MOTA, Objective.HOTA])
def test_the_objective_is_drawn_over_each_parameter(
    objective: Objective, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr("posewire_evaluation.ablation.search.save", lambda drawing, _: drawn.append(drawing))
    write_search(search(Hill(), objective=objective, samples=0), tmp_path)
    for panel, (name, values) in zip(drawn[0].axes, PARAMETERS.items(), strict=True):
        curves = {line.get_label(): line.get_xdata() for line in panel.get_lines()}
        assert panel.get_title() == name
        assert list(curves[objective.upper()]) == list(values)
        assert {"MOTA", "IDF1", "mAP"} <= curves.keys()


def test_the_mean_is_taken_of_each_figure() -> None:
    assert mean_scores([scores(10, 20), scores(30, 40)]) == scores(20, 30)


def test_tables_set_numbers_flush_and_the_best_bold() -> None:
    rows = [["bbox", 9.04, 3], ["flow", 12.25, 3], ["none", float("nan"), 12]]
    assert as_text(("name", "MOTA", "n"), rows) == ("name  MOTA   n\nbbox   9.0   3\nflow  12.2   3\nnone     -  12\n")
    assert as_markdown(("name", "MOTA", "n"), rows, best=[1]).splitlines()[3] == "| flow | **12.2** | 3 |"


def test_tables_have_no_best_of_nothing_and_no_negative_zero() -> None:
    rows = [["bbox", float("nan"), -0.04], ["flow", float("nan"), -0.06]]
    assert as_markdown(("name", "MOTA", "d"), rows, best=[1, 2]).splitlines()[2:] == [
        "| bbox | - | **0.0** |",
        "| flow | - | -0.1 |",
    ]
