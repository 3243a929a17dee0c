"""The pose stage: many frames, many people, each as if alone."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor

from posewire.joints import COCO17, NANO19
from posewire_models.crops import crop_to_frame, normalise, sample_crops
from posewire_models.frames import Frame
from posewire_models.heatmaps import decode_heatmaps, flip_average, joints_in_frame
from posewire_models.pose_estimator import HeatmapPoseEstimator, PoseSettings
from posewire_models.pose_resnet import PoseResNet
from tests.models.small_networks import small_network

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def estimator() -> HeatmapPoseEstimator:
    return _estimator(PoseSettings())


def _estimator(settings: PoseSettings) -> HeatmapPoseEstimator:
    network = small_network("pose_resnet")
    assert isinstance(network, PoseResNet)
    return HeatmapPoseEstimator(network, COCO17, settings, CPU)


def _scene(seed: int, size: tuple[int, int], people: int) -> tuple[Frame, np.ndarray]:
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    corner = rng.uniform(0, 60, (people, 2))
    boxes = np.concatenate((corner, corner + rng.uniform(20, 80, (people, 2))), axis=1)
    return Frame(pixels), boxes.astype(np.float32)


def test_people_do_not_depend_on_who_shares_their_batch(estimator: HeatmapPoseEstimator) -> None:
    scenes = [_scene(0, (96, 128), 3), _scene(1, (160, 80), 0), _scene(2, (64, 64), 40), _scene(3, (96, 128), 1)]
    frames, boxes = [frame for frame, _ in scenes], [boxes for _, boxes in scenes]
    together = estimator(frames, boxes)
    assert [poses.shape for poses in together] == [(3, 17, 3), (0, 17, 3), (40, 17, 3), (1, 17, 3)]
    for frame, of_frame, poses in zip(frames, boxes, together, strict=True):
        for box, pose in zip(of_frame, poses, strict=True):
            (alone,) = estimator([frame], [box[None]])
            np.testing.assert_allclose(pose, alone[0], atol=1e-3)


@pytest.mark.parametrize(
    ("decoding", "flip_shift"),
    [("quarter", None), ("quarter", 1.0), ("gaussian", 0.75)],  # None: without the flip test
)
def test_equals_the_steps_one_by_one(decoding: str, flip_shift: float | None) -> None:
    network = small_network("pose_resnet")
    frame, boxes = _scene(5, (96, 128), 4)
    to_frame = crop_to_frame(torch.from_numpy(boxes), network.config.input_size)
    owners = torch.zeros(4, dtype=torch.long)
    crops = sample_crops([frame.on(CPU)], owners, to_frame, network.config.input_size)
    crops = normalise(crops, (123.675, 116.28, 103.53), (58.395, 57.12, 57.375))
    with torch.inference_mode():
        heatmaps = network(crops)
        if flip_shift is not None:
            heatmaps = flip_average(heatmaps, network(crops.flip(3)), torch.from_numpy(COCO17.mirror), flip_shift)
    expected = joints_in_frame(decode_heatmaps(heatmaps, decoding), 4, to_frame).numpy()
    settings = PoseSettings(flip_test=flip_shift is not None, decoding=decoding)
    (found,) = _estimator(settings)([frame], [boxes])
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_the_box_scale_of_the_settings_counts() -> None:
    frame, boxes = _scene(5, (96, 128), 2)
    middle, half = (boxes[:, :2] + boxes[:, 2:]) / 2, (boxes[:, 2:] - boxes[:, :2]) / 2
    larger = np.concatenate((middle - 1.5 * half, middle + 1.5 * half), axis=1)
    (found,) = _estimator(PoseSettings(box_scale=1.5))([frame], [boxes])
    (expected,) = _estimator(PoseSettings(box_scale=1.0))([frame], [larger])
    np.testing.assert_allclose(found, expected, atol=1e-2)


@pytest.mark.parametrize("antialias", [True, False])
def test_crops_are_made_as_the_settings_say(antialias: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def note(pixels: object, owners: object, to_frame: object, size: tuple[int, int], *, antialias: bool) -> Tensor:
        asked.append(antialias)
        return torch.zeros(1, 3, *size)

    monkeypatch.setattr("posewire_models.pose_estimator.sample_crops", note)
    frame, boxes = _scene(5, (96, 128), 1)
    _estimator(PoseSettings(antialias=antialias))([frame], [boxes])
    assert asked == [antialias]


def test_nobody_anywhere(estimator: HeatmapPoseEstimator) -> None:
    frame, boxes = _scene(0, (64, 64), 0)
    assert [poses.shape for poses in estimator([frame, frame], [boxes, boxes])] == [(0, 17, 3)] * 2
    assert estimator([], []) == []


def test_bad_boxes_are_refused(estimator: HeatmapPoseEstimator) -> None:
    frame, boxes = _scene(0, (64, 64), 2)
    with pytest.raises(ValueError, match="one array of boxes per frame"):
        estimator([frame], [boxes, boxes])
    with pytest.raises(ValueError, match="finite"):
        estimator([frame], [np.full((1, 4), np.nan, np.float32)])
    with pytest.raises(ValueError, match="finite"):
        estimator([frame], [boxes[:, :3]])


def test_joint_set_must_have_the_networks_joints() -> None:
    network = small_network("pose_resnet")
    assert isinstance(network, PoseResNet)
    with pytest.raises(ValueError, match=r"17 heatmaps.*19 joints"):
        HeatmapPoseEstimator(copy.deepcopy(network), NANO19, PoseSettings(), CPU)
