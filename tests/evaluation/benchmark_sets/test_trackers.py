"""posewire and the baselines on a small scene."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from posewire.synth import SceneConfig
from posewire_evaluation.benchmark_sets import matrix, trackers
from posewire_evaluation.benchmark_sets.baselines import BASELINES, missing_package
from posewire_evaluation.benchmark_sets.faults import Faults
from posewire_evaluation.benchmark_sets.matrix import evaluate_on_sets, run_tasks
from posewire_evaluation.benchmark_sets.outputs import FaultyOutputs
from posewire_evaluation.benchmark_sets.scenes import DrawnScene, FlowKind
from posewire_evaluation.benchmark_sets.trackers import ALL_TRACKERS, SetSize, Task, Tracking, run_task
from posewire_evaluation.errors import EvaluationError
from posewire_server.tracking import Similarity, TrackerConfig
from tests.evaluation.benchmark_sets.conftest import small_scene

SIMILARITIES = tuple(tracker for tracker in ALL_TRACKERS if tracker.config and tracker.config.propagation)


@pytest.fixture
def small_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """Sets of one small scene, the same for all names."""

    def configs(name: str, *, scenes: int, frames: int, rate_divisor: int = 1) -> list[SceneConfig]:
        return [small_scene()] * scenes

    for module in (matrix, trackers):
        monkeypatch.setattr(module, "scene_configs", configs)


def needs(name: str) -> None:
    package = missing_package(name)
    if package is not None:
        pytest.skip(f"the package {package} is not installed; nothing of posewire needs it")


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_keeps_the_ids_of_people_who_stand_apart(name: str, scene: DrawnScene) -> None:
    needs(name)
    tracked = BASELINES[name](FaultyOutputs(scene, Faults()), scene.config.fps, scene.config.height)
    assert len(tracked) == len(scene.people)
    ids: dict[int, set[int]] = {}
    for people, truth in zip(tracked, scene.people, strict=True):
        assert len(set(people.ids.tolist())) == len(people)
        for id_, box in zip(people.ids.tolist(), people.boxes.xyxy, strict=True):
            true = int(truth.ids[np.abs(truth.boxes - box).sum(axis=1).argmin()])
            ids.setdefault(true, set()).add(id_)
            pose = people.joints[people.ids == id_][0, :, :2]
            np.testing.assert_array_equal(pose, truth.joints[truth.ids == true][0, :, :2])
    assert {true: len(given) for true, given in ids.items()} == dict.fromkeys(ids, 1)
    assert len(ids) >= 2


@pytest.mark.parametrize("name", BASELINES)
def test_a_baseline_without_anybody_gives_nobody(name: str, scene: DrawnScene) -> None:
    needs(name)

    class Empty(FaultyOutputs):
        def detections(self, frame: int):
            found = super().detections(frame)
            return found[np.zeros(len(found), np.bool_)]

    assert not sum(map(len, BASELINES[name](Empty(scene, Faults()), 25.0, 192)))


def test_a_baseline_that_is_not_installed_is_named(scene: DrawnScene, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "norfair", None)
    assert missing_package("Norfair") == "norfair"
    with pytest.raises(EvaluationError, match="norfair is not installed"):
        BASELINES["Norfair"](FaultyOutputs(scene, Faults()), 25.0, 192)


@pytest.mark.usefixtures("small_sets", "scene")
def test_the_truth_scores_full_marks_and_a_seed_repeats_the_scores(cache_dir: Path) -> None:
    size = SetSize(scenes=1, frames=30, cache_dir=cache_dir)
    task = Task("easy", "none", FlowKind.TRUE, [Tracking("multi-flow", TrackerConfig())])
    (scores,) = run_task(size, task)
    assert scores.mota == scores.idf1 == scores.hota == scores.mean_ap == 100
    faulty = Task("easy", "all", FlowKind.DIS, SIMILARITIES)
    assert run_task(size, faulty) == run_task(size, faulty)


@pytest.mark.usefixtures("small_sets", "scene")
def test_propagation_finds_whom_the_detector_misses(cache_dir: Path) -> None:
    size = SetSize(scenes=1, frames=30, cache_dir=cache_dir)
    both = [Tracking(str(on), TrackerConfig(propagation=on)) for on in (False, True)]
    off, on = run_task(size, Task("easy", "missed", FlowKind.TRUE, both))
    assert off.recall < on.recall
    assert off.mota < on.mota


@pytest.mark.usefixtures("small_sets", "scene")
def test_settings_are_judged_by_the_mean_of_all_sets(cache_dir: Path) -> None:
    size = SetSize(scenes=1, frames=30, cache_dir=cache_dir)
    configs = [TrackerConfig(), TrackerConfig(similarity=Similarity.BBOX)]
    of_configs = evaluate_on_sets(configs, size, workers=0)
    one_set = run_task(size, Task("easy", "all", FlowKind.DIS, [Tracking("", config) for config in configs]))
    for mean, single in zip(of_configs, one_set, strict=True):  # here all sets are the same
        assert mean.mota == pytest.approx(single.mota)


def test_tasks_give_the_scores_of_their_own_set(cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def configs(name: str, **_: int) -> list[SceneConfig]:
        return [small_scene(name, frames=12)]

    for module in (matrix, trackers):
        monkeypatch.setattr(module, "scene_configs", configs)
    size = SetSize(1, 12, cache_dir)
    only = [Tracking("bbox", TrackerConfig(similarity=Similarity.BBOX))]
    tasks = [Task(name, "all", FlowKind.TRUE, only) for name in ("crossing", "easy")]
    assert run_tasks(size, tasks, workers=0) == [run_task(size, task) for task in tasks]
