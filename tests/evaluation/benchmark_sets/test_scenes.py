from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from posewire.joints import POSETRACK15
from posewire.synth import Scene, SceneConfig
from posewire_evaluation.benchmark_sets import scenes
from posewire_evaluation.benchmark_sets.scenes import SETS, DrawnScene, FlowKind, draw, scene_configs
from posewire_evaluation.errors import EvaluationError


def test_a_drawn_scene_is_the_scene(scene: DrawnScene) -> None:
    truths = [frame.truth for frame in Scene(scene.config)]
    for truth, people in zip(truths, scene.people, strict=True):
        assert people.ids.tolist() == truth.ids.tolist()
        np.testing.assert_array_equal(people.joints, truth.joints)
        np.testing.assert_array_equal(people.boxes, truth.boxes)
    points = np.random.default_rng(0).uniform(0, 190, (500, 2)).astype(np.float32)
    np.testing.assert_array_equal(scene.flow(12).at(points), truths[12].flow_field.at(points))


def test_dis_sees_about_what_is_true(scene: DrawnScene) -> None:
    seen = scene.people[12].joints
    points = scene.people[11].joints[:, 5:, :2][seen[:, 5:, 2] == 2]
    dis = scene.estimated[FlowKind.DIS]
    rows, columns = dis.shape[1:3]
    grid = dis[11][(points[:, 1] * rows / 192).astype(int), (points[:, 0] * columns / 256).astype(int)]
    errors = np.linalg.norm(grid - scene.flow(12).at(points), axis=1)
    assert np.median(errors) < 0.5


def test_only_joints_that_are_seen_are_asked_for(scene: DrawnScene) -> None:
    truth = scene.truth()
    assert truth.joint_set == POSETRACK15
    for frame, people in zip(truth.frames, scene.people, strict=True):
        for row, person in enumerate(frame.ids.tolist()):
            visible = people.joints[people.ids == person][0]
            left_ankle = visible[15, 2] == 2  # COCO's 16th
            assert frame.present[row, POSETRACK15.index("left_ankle")] == left_ankle
        assert frame.labelled == (len(frame) > 0)


def test_a_scene_is_drawn_once(scene: DrawnScene, cache_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(config: SceneConfig) -> None:
        raise AssertionError(f"{config} is drawn again")

    monkeypatch.setattr(scenes, "Scene", never)
    again = draw(scene.config, cache_dir)
    np.testing.assert_array_equal(again.people[3].joints, scene.people[3].joints)


def test_a_damaged_scene_is_named_with_the_remedy(scene: DrawnScene, cache_dir: Path, tmp_path: Path) -> None:
    copied = shutil.copytree(cache_dir, tmp_path / "scenes")
    for path in copied.glob("scene-*.npz"):
        path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(EvaluationError, match=r"scene-.*\.npz is damaged .*delete it"):
        draw(scene.config, copied)


def test_sets_are_the_same_every_time() -> None:
    for name in SETS:
        first, second = scene_configs(name, scenes=2, frames=90)
        assert first.seed != second.seed
        assert [first, second] == scene_configs(name, scenes=2, frames=90)
        (slow,) = scene_configs(name, scenes=1, frames=90, rate_divisor=3)
        assert (slow.frames, slow.fps, slow.seed) == (30, first.fps / 3, first.seed)
    with pytest.raises(ValueError, match="unknown preset 'hard'"):
        scene_configs("hard", scenes=1, frames=10)
