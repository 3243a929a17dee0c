"""Variants measured on a small data set, in one process and in several."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from posewire.joints import COCO17
from posewire_evaluation.ablation import table_5, variants
from posewire_evaluation.ablation.plots import save
from posewire_evaluation.ablation.recording import RecordedVideo
from posewire_evaluation.ablation.replay import replay
from posewire_evaluation.ablation.scores import as_prediction
from posewire_evaluation.ablation.table_5 import ablate, write_report
from posewire_evaluation.ablation.variants import TABLE_5, Variant, measure
from posewire_evaluation.errors import EvaluationError
from posewire_server.tracking import Boxes, BoxSource, Similarity, TrackedPeople, TrackerConfig
from tests.evaluation.ablation.stand_ins import CountedNetworks, CountedStages, labelled, truth_of

LOST = frozenset({3, 4})


def test_the_rows_are_those_of_the_paper() -> None:
    assert [(variant.config.propagation, variant.config.similarity.value) for variant in TABLE_5] == [
        (False, "bbox"),
        (False, "pose"),
        (True, "bbox"),
        (True, "pose"),
        (True, "flow"),
        (True, "multi-flow"),
    ]


def test_propagation_finds_whom_the_detector_misses(tmp_path: Path) -> None:
    networks = CountedNetworks(CountedStages(losing=LOST))
    sequence = labelled(tmp_path)
    off, on = measure(
        networks,
        [sequence],
        [Variant("off", TrackerConfig(propagation=False)), Variant("on", TrackerConfig())],
        tmp_path / "cache",
        workers=0,
    )
    assert off.scores.recall < on.scores.recall == 100
    assert on.scores.mota == on.scores.idf1 == 100
    assert off.networks.poses == 0  # all its boxes were those of the other one too
    assert on.networks.poses == 16
    assert on.networks.frames == 8 + 7


def test_what_networks_said_is_kept_when_the_rest_is_broken_off(tmp_path: Path) -> None:
    sequence, cache = labelled(tmp_path), tmp_path / "cache"
    on, off = Variant("on", TrackerConfig()), Variant("off", TrackerConfig(propagation=False))

    def break_off(done: int) -> None:
        if done == 3:  # the sequence, the last variant, the first one
            raise KeyboardInterrupt

    before = CountedNetworks(CountedStages(losing=LOST))
    with pytest.raises(KeyboardInterrupt):
        measure(before, [sequence], [on, off, off], cache, workers=0, progress=break_off)
    again = CountedNetworks()
    measure(again, [sequence], [on, off], cache, workers=0)
    assert before.stages.counts["pose"] == 16
    assert not again.stages.counts


def test_each_has_its_own_time_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes first loads the networks and reads the pictures; neither it nor they are slower for that."""
    now_s = 0.0

    def taking(seconds: float, work: Callable[..., Any]) -> Callable[..., Any]:
        def slow(*arguments: Any) -> Any:
            nonlocal now_s
            now_s += seconds
            return work(*arguments)

        return slow

    monkeypatch.setattr(time, "perf_counter", lambda: now_s)
    monkeypatch.setattr(RecordedVideo, "_frame", taking(1000, RecordedVideo._frame))
    monkeypatch.setattr(CountedNetworks, "load", taking(100, CountedNetworks.load))
    for network in ("detector", "flow", "pose"):
        monkeypatch.setattr(CountedStages, network, taking(1, getattr(CountedStages, network)))
    monkeypatch.setattr(variants, "replay", taking(0.25, replay))
    variant = Variant("on", TrackerConfig())
    (measured,) = measure(CountedNetworks(), [labelled(tmp_path)], [variant], tmp_path / "cache", workers=0)
    assert measured.networks.seconds == 2 + 2 + 8  # batches of four frames, and poses frame by frame
    assert measured.tracking_s == 0.25


def test_processes_give_what_one_gives(tmp_path: Path) -> None:
    sequence = labelled(tmp_path)
    alone, together = (
        measure(
            CountedNetworks(CountedStages(losing=LOST)),
            [sequence],
            TABLE_5[-3:],
            tmp_path / f"c{workers}",
            workers=workers,
        )
        for workers in (0, 1)
    )
    assert [each.scores for each in alone] == [each.scores for each in together]


def test_the_table_has_a_row_for_each_similarity_and_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Any] = []
    monkeypatch.setattr(table_5, "save", lambda drawing, path: drawn.append(drawing) or save(drawing, path))
    steps: list[int] = []
    choices = [CountedNetworks(name="first"), CountedNetworks(name="second")]
    rows = ablate(choices, [labelled(tmp_path)], tmp_path / "cache", workers=0, progress=steps.append)
    assert steps == list(range(1, 2 * 7 + 1))
    text = write_report(rows, tmp_path / "out")
    assert [line.split()[:4] for line in text.splitlines()[1:7]] == [
        ["first", str(number), "on" if variant.config.propagation else "off", variant.config.similarity.value]
        for number, variant in enumerate(TABLE_5, start=1)
    ]
    assert (tmp_path / "out" / "table_5.csv").read_text().count("\n") == 13
    assert (tmp_path / "out" / "table_5.png").read_bytes().startswith(b"\x89PNG")
    measured = [row.measured.scores for row in rows]
    for panel, title, figures in zip(
        drawn[0].axes,
        ("mAP", "MOTA"),
        ([scores.mean_ap for scores in measured], [scores.mota for scores in measured]),
        strict=True,
    ):
        assert panel.get_title().startswith(title)
        curves = {line.get_label(): list(line.get_ydata()) for line in panel.get_lines()}
        assert (curves["first"], curves["second"]) == (figures[:6], figures[6:])


def people(scores: list[float]) -> TrackedPeople:
    """One person, whose joints all have the score given; one joint would not do for a box, but does here."""
    joints = np.full((1, 17, 3), 5, np.float32)
    joints[0, :, 2] = scores
    return TrackedPeople(np.array([4]), np.ones(1, np.float32), Boxes.of([0, 0, 9, 9], 1, BoxSource.DETECTOR), joints)


def test_joints_below_the_threshold_are_no_predictions() -> None:
    truth = truth_of(2)
    sure, unsure = people([0.4] * 16 + [0.39]), people([0.1] * 17)
    prediction = as_prediction(truth, [sure, unsure], COCO17, joint_score_threshold=0.4)
    # 12 of the 17 joints are PoseTrack's, and the shoulders' mean is its head bottom; the last is the right ankle.
    assert prediction.frames[0].present.sum() == 13
    assert not prediction.frames[0].present[0, prediction.joint_set.index("right_ankle")]
    assert len(prediction.frames[1]) == 0


def test_joints_that_a_network_does_not_have_are_no_predictions_at_any_threshold() -> None:
    prediction = as_prediction(truth_of(2), [people([0.1] * 17), people([0.0] * 17)], COCO17, joint_score_threshold=0.0)
    assert not prediction.frames[0].present[0, prediction.joint_set.index("head_top")]  # which COCO does not have
    assert prediction.frames[0].present.sum() == 14
    assert len(prediction.frames[1]) == 0


def test_frames_are_known_by_their_numbers() -> None:
    truth = truth_of(2, first=10)
    nobody = people([0.0] * 17)
    prediction = as_prediction(
        truth, [nobody, people([0.9] * 17), nobody], COCO17, joint_score_threshold=0.4, numbers=[9, 10, 11]
    )
    assert [len(frame) for frame in prediction.frames] == [1, 0]


def test_truth_of_a_longer_video_is_refused() -> None:
    with pytest.raises(EvaluationError, match="walk: frame 2: the video has only the frames 0 to 1"):
        as_prediction(truth_of(3), [people([0.9] * 17)] * 2, COCO17, joint_score_threshold=0.4)


def test_similarity_is_part_of_the_name() -> None:
    assert all(kind.value in {variant.name.split(",")[0] for variant in TABLE_5} for kind in Similarity)
