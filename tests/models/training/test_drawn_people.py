from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch

from posewire.joints import COCO17, NANO19
from posewire_models.training.config import ConfigError, build
from posewire_models.training.drawn_people import DrawnPeopleConfig, draw_people
from posewire_models.training.patches import PatchGeometry, PatchSet
from posewire_models.training.pose_task import PoseTrainConfig, train_pose
from posewire_models.training.readers import read_poses
from posewire_models.training.readers.label_file import LabelFileError
from tests.models.training.figures import stick_figure, write_coco

GEOMETRY = PatchGeometry(side=128, crop_height=96, aspect=0.75)
FACE = slice(0, 5)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of 20 stick figures, and two pictures without anybody."""
    folder = tmp_path_factory.mktemp("data")
    write_coco(folder, 20)
    (folder / "empty").mkdir()
    for number in range(2):
        cv2.imwrite(str(folder / "empty" / f"{number}.png"), np.full((90, 120, 3), 40 + 60 * number, np.uint8))
    return folder


def config(**changes: Any) -> DrawnPeopleConfig:
    return DrawnPeopleConfig(poses=Path("labels.json"), backgrounds=Path("empty"), **changes)


def drawn(data: Path, settings: DrawnPeopleConfig, **others: Any) -> PatchSet:
    people = draw_people(settings, data, others.get("to", NANO19), GEOMETRY, workers=2)
    assert people is not None
    return people


def test_people_in_given_poses(data: Path) -> None:
    people = drawn(data, config(posed=12))
    assert 12 <= len(people) <= 36
    weights = people.joints[..., 2]
    assert set(weights.unique().tolist()) <= {0.0, 0.5, 1.0}
    assert (weights[:, FACE] != 0.5).all()  # hidden parts of a face are not asked for
    assert (weights[:, NANO19.index("neck")] > 0).any()
    inside = (people.joints[..., :2] >= 0).all(dim=2) & (people.joints[..., :2] <= GEOMETRY.side - 1).all(dim=2)
    assert inside[weights > 0].float().mean() > 0.95
    assert (people.areas > 300).all()
    assert people.pixels.float().std(dim=(1, 2, 3)).min() > 3


def test_people_of_scenes(data: Path) -> None:
    people = drawn(data, DrawnPeopleConfig(scenes=2, frames_a_scene=2))
    assert len(people) >= 6
    assert (people.joints[..., 2] == 1).float().mean() > 0.3


def test_the_same_settings_draw_the_same_people(data: Path) -> None:
    first, second = drawn(data, config(posed=3)), drawn(data, config(posed=3))
    assert torch.equal(first.pixels, second.pixels)
    assert torch.equal(first.joints, second.joints)
    other = drawn(data, config(posed=3, seed=2))
    assert len(other) != len(first) or not torch.equal(other.pixels, first.pixels)


def test_joints_come_in_the_joint_set_that_is_trained(data: Path) -> None:
    wide, narrow = drawn(data, config(posed=3)), drawn(data, config(posed=3), to=COCO17)
    assert torch.equal(wide.joints[:, : len(COCO17)], narrow.joints)


def test_nobody_is_drawn_unless_asked_for(data: Path) -> None:
    assert draw_people(DrawnPeopleConfig(), data, NANO19, GEOMETRY, workers=1) is None


def test_a_run_trains_on_drawn_people_too(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    table = {
        "joints": "nano19",
        "patch_side": 96,
        "patch_crop_height": 64,
        "network": {"depth": 18, "width": 0.125, "deconv_filters": [8], "deconv_kernels": [4], "input_size": [64, 64]},
        "loop": {"out": str(tmp_path), "schedule": {"samples": 4, "batch_size": 4, "lr": 1e-3}},
        "sources": [{"format": "coco", "images": "images", "labels": "labels.json", "held_out_every": 5}],
    }
    run = build(PoseTrainConfig, table)
    run = replace(run, data_root=data, drawn=config(posed=2), device="cpu")
    with caplog.at_level("INFO"):
        trained = train_pose(run)
    assert trained.steps == 1
    assert "drawn: " in caplog.text


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"posed": 3}, "needs a file of poses and a folder of backgrounds"),
        ({"posed": -1}, "posed -1 must be at least 0"),
        ({"scenes": 10_001}, r"scenes 10001 in 0\.\.10000"),
        ({"seed": 99}, r"seed 99 in 0\.\.98"),
        ({"frames_a_scene": 0}, "frames_a_scene 0"),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(DrawnPeopleConfig, settings)


def test_drawn_people_are_kept_in_memory() -> None:
    sources = [{"format": "coco", "images": "images", "labels": "labels.json"}]
    loop = {"out": "run", "schedule": {"samples": 1, "batch_size": 1, "lr": 1e-3}}
    table = {"loop": loop, "sources": sources, "in_memory": False, "drawn": {"scenes": 1}}
    with pytest.raises(ConfigError, match="in_memory"):
        build(PoseTrainConfig, table)


def packed(file: Path, width: int, height: int, **changes: Any) -> Path:
    """One figure a picture of this size, pictures 1 to 10; 7 is of the validation set."""
    rng = np.random.default_rng(0)
    labels = np.stack([stick_figure(rng)[1] for _ in range(10)])
    arrays = {
        "kpt_xy_norm": labels[..., :2] / (width, height),
        "kpt_v": np.full((10, 17), 2, np.uint8),
        "image_id": np.arange(1, 11),
        "is_val": np.arange(1, 11) == 7,
    }
    np.savez(file, **{name: value for name, value in {**arrays, **changes}.items() if value is not None})
    return file


@pytest.mark.parametrize("size", [(640, 480), (480, 640)])  # the latter is seen by the width of the shoulders only
def test_packed_poses_keep_their_proportions(tmp_path: Path, size: tuple[int, int]) -> None:
    poses = read_poses(packed(tmp_path / "poses.npz", *size), held_out_every=5)
    assert poses.shape == (7, 17, 3)  # without 5, 10 and the validation set's
    _, wide = stick_figure(np.random.default_rng(0))
    trunk, shoulders = [], []
    for pose in (wide, poses[0]):
        trunk.append(np.linalg.norm(pose[[5, 6], :2].mean(axis=0) - pose[[11, 12], :2].mean(axis=0)))
        shoulders.append(np.linalg.norm(pose[5, :2] - pose[6, :2]))
    assert shoulders[1] / trunk[1] == pytest.approx(shoulders[0] / trunk[0], rel=1e-3)


def test_poses_of_a_coco_file(data: Path, tmp_path: Path) -> None:
    poses = read_poses(data / "labels.json", held_out_every=5)
    assert len(poses) == 16
    content = json.loads((data / "labels.json").read_text())
    np.testing.assert_allclose(poses[0].ravel(), content["annotations"][0]["keypoints"], atol=1e-3)
    crowd, bare = content["annotations"][:2]
    crowd["iscrowd"] = 1
    del bare["keypoints"]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    assert len(read_poses(tmp_path / "labels.json", held_out_every=5)) == 14
    for annotation in content["annotations"]:
        annotation["category_id"] = 1
        if "keypoints" in annotation:
            annotation["keypoints"] = np.reshape(annotation["keypoints"], (17, 3))[::-1].ravel().tolist()
    content["annotations"][2]["category_id"] = 2
    content["categories"] = [{"id": 1, "name": "person", "keypoints": COCO17.names[::-1]}, {"id": 2, "name": "dog"}]
    (tmp_path / "labels.json").write_text(json.dumps(content))
    assert read_poses(tmp_path / "labels.json", held_out_every=5).tolist() == poses[3:].tolist()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"kpt_v": None}, "kpt_v"),
        ({"kpt_v": np.full((10, 16), 2)}, r"must be \(n, 17, 2\)"),
        ({"kpt_v": np.zeros((10, 17))}, "nobody to draw"),
        ({"image_id": np.arange(3)}, "cannot be read"),
        ({"kpt_xy_norm": np.full((10, 17, 2), np.nan)}, "finite numbers are expected"),
    ],
)
def test_faulty_packed_poses(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = packed(tmp_path / "poses.npz", 640, 480, **changes)
    with pytest.raises(LabelFileError, match=message):
        read_poses(file, held_out_every=5)


def test_files_that_are_no_poses(tmp_path: Path) -> None:
    for name, content in (("a.npz", b"PK\x03\x04 no archive"), ("b.npz", b"text"), ("c.json", b"{}")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(LabelFileError, match=name):
            read_poses(tmp_path / name, held_out_every=5)
    with pytest.raises(LabelFileError, match=r"d\.npz"):
        read_poses(tmp_path / "d.npz", held_out_every=5)
    (tmp_path / "e.json").write_text('{"annotations": [{"image_id": "1"}]}')
    with pytest.raises(LabelFileError, match=r"e\.json: annotation number 0: its image_id '1' is no whole number"):
        read_poses(tmp_path / "e.json", held_out_every=5)


def test_a_folder_without_pictures_is_told(data: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "labels.json").write_text((data / "labels.json").read_text())
    with pytest.raises(LabelFileError, match="no pictures to draw people on"):
        draw_people(config(posed=1), tmp_path, NANO19, GEOMETRY, workers=1)
