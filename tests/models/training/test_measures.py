from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest
import torch
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from posewire.joints import COCO17
from posewire_models.training.measures import average_precision, keypoint_similarity, pck


def person(**places: tuple[float, float]) -> torch.Tensor:
    joints = torch.zeros(1, 17, 3)
    for name, (x, y) in places.items():
        joints[0, COCO17.index(name)] = torch.tensor([x, y, 1.0])
    return joints


def test_pck_counts_labelled_joints_within_a_fifth_of_the_torso() -> None:
    labels = person(left_shoulder=(0, 0), right_hip=(60, 80), nose=(10, 10), left_knee=(30, 30))  # torso 100
    found = person(left_shoulder=(0, 19), right_hip=(60, 101), nose=(10, 10), left_knee=(90, 30), left_ankle=(5, 5))
    assert pck(found, labels, COCO17) == pytest.approx(2 / 4)


def test_people_without_a_torso_do_not_count() -> None:
    labels = torch.cat([person(left_shoulder=(0, 0), right_hip=(0, 9)), person(nose=(5, 5))])
    assert pck(labels, labels, COCO17) == 1
    assert pck(labels[1:], labels[1:], COCO17) == 0


def coco_numbers(detections: list[list[float]], keypoints: torch.Tensor | None = None) -> COCO:
    """A data set of one picture with two boxes, or with one person."""
    boxes = [[10, 10, 40, 80], [100, 20, 30, 60]] if keypoints is None else [[0, 0, 50, 50]]
    truth = COCO()
    annotations = []
    for number, box in enumerate(boxes, start=1):
        one = {"id": number, "image_id": 1, "category_id": 1, "bbox": box, "area": box[2] * box[3], "iscrowd": 0}
        if keypoints is not None:
            one |= {"keypoints": keypoints.ravel().tolist(), "num_keypoints": int((keypoints[..., 2] > 0).sum())}
        annotations.append(one)
    truth.dataset = {"info": {}, "images": [{"id": 1}], "annotations": annotations, "categories": [{"id": 1}]}
    truth.createIndex()
    return truth


def test_average_precision_is_cocos() -> None:
    found = [
        [11, 11, 41, 79, 0.9],  # a hit
        [12, 10, 40, 80, 0.8],  # the same person again
        [200, 10, 20, 20, 0.7],  # nobody
        [101, 22, 29, 55, 0.4],  # a hit
    ]
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_numbers(found)
        results = truth.loadRes([{"image_id": 1, "category_id": 1, "bbox": one[:4], "score": one[4]} for one in found])
        official = COCOeval(truth, results, "bbox")
        official.evaluate()
        official.accumulate()
        official.summarize()
    boxes = np.array([[x, y, x + w, y + h, score] for x, y, w, h, score in found], np.float32)
    truths = np.array([[10, 10, 50, 90], [100, 20, 130, 80]], np.float32)
    ours = average_precision([boxes], [(truths, np.zeros((0, 4), np.float32))], iou=0.5)
    assert ours == pytest.approx(official.stats[1])


def test_detections_in_ignored_regions_do_not_count() -> None:
    boxes = np.array([[0, 0, 10, 10, 0.9], [50, 50, 60, 60, 0.8]], np.float32)
    known = np.array([[50, 50, 60, 60]], np.float32)
    nothing = np.zeros((0, 4), np.float32)
    assert average_precision([boxes], [(known, np.array([[0, 0, 99, 20]], np.float32))], iou=0.5) == pytest.approx(1)
    assert average_precision([boxes], [(known, nothing)], iou=0.5) == pytest.approx(0.5)
    assert average_precision([boxes[:0]], [(known, nothing)], iou=0.5) == 0


def test_keypoint_similarity_is_cocos() -> None:
    generator = torch.Generator().manual_seed(4)
    labels = torch.cat([50 * torch.rand(1, 17, 2, generator=generator), torch.full((1, 17, 1), 2.0)], dim=2)
    labels[0, 3:6, 2] = 0
    found = labels + 2 * torch.rand(1, 17, 3, generator=generator)
    with contextlib.redirect_stdout(io.StringIO()):
        truth = coco_numbers([], labels)
        results = truth.loadRes([{"image_id": 1, "category_id": 1, "keypoints": found.ravel().tolist(), "score": 0.5}])
        official = COCOeval(truth, results, "keypoints")
        official.evaluate()
    expected = official.ious[(1, 1)][0, 0]
    assert float(keypoint_similarity(found, labels, torch.tensor([2500.0]), COCO17)) == pytest.approx(
        expected, rel=1e-4
    )
