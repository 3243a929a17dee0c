"""YOLOX for people as a stage."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.yolox import yolox_person_detector
from posewire_models.detectors.yolox_boxes import cell_count, nms
from posewire_models.frames import Frame
from posewire_models.network import Network
from posewire_models.yolox_detector import YoloxDetector
from tests.models.detectors.blocks import BLOCKS, frame_with_block
from tests.models.small_networks import small_network

CPU = torch.device("cpu")


class _FindsBrightBlocks(Network):
    """Tells of the bright block from its middle cell of stride 8, and less surely from the one before that."""

    def __init__(self, detector: YoloxDetector) -> None:
        super().__init__()
        self.config = detector.config

    def forward(self, images: Tensor) -> Tensor:
        height, width = images.shape[2:]
        told = torch.full((len(images), cell_count((height, width)), 6), -9.0)
        for row, image in enumerate(images):
            ys, xs = torch.nonzero(image[0] > 1.5, as_tuple=True)
            left, right, top, bottom = xs.min() / 8, (xs.max() + 1) / 8, ys.min() / 8, (ys.max() + 1) / 8
            x, y = (left + right) / 2, (top + bottom) / 2
            cell = int(y) * (width // 8) + int(x)
            size = torch.stack((right - left, bottom - top)).log()
            for place, certainty in ((cell, 2.0), (cell - 1, 1.0)):
                column = place % (width // 8)
                told[row, place] = torch.tensor([x - column, y - int(y), *size, certainty, certainty])
        return told


@pytest.mark.parametrize(("size", "box"), BLOCKS)
def test_a_person_is_found_once_and_in_frame_pixels(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    network = small_network("yolox")
    assert isinstance(network, YoloxDetector)
    stage = yolox_person_detector(_FindsBrightBlocks(network), DetectorSettings(), CPU, "torch")  # type: ignore[arg-type]
    (found,) = stage([frame_with_block(size, box)])
    assert len(found) == 1
    # The block covers pixels box[0] to box[2] - 1, so its edges lie half a pixel outside of their centres.
    np.testing.assert_allclose(found.boxes[0], np.array(box) - 0.5, atol=1e-3)
    assert found.scores[0] == pytest.approx((1 / (1 + math.exp(-2))) ** 2, abs=1e-3)


def test_what_lies_outside_of_the_frame_is_as_bright_as_in_training(monkeypatch: pytest.MonkeyPatch) -> None:
    network = small_network("yolox")
    assert isinstance(network, YoloxDetector)
    stage = yolox_person_detector(network, DetectorSettings(), CPU, "torch")
    seen: list[Tensor] = []

    def find(images: Tensor) -> Tensor:
        seen.append(images)
        return torch.zeros(1, 1, 5)

    monkeypatch.setattr(stage, "_find", find)
    stage([Frame(np.zeros((100, 40, 3), np.uint8))])
    assert seen[0].unique().tolist() == [0.0, 114.0]


def test_frames_do_not_depend_on_each_other() -> None:
    network = small_network("yolox")
    assert isinstance(network, YoloxDetector)
    stage = yolox_person_detector(network, DetectorSettings(score_threshold=0.0, max_people=1000), CPU, "torch")
    rng = np.random.default_rng(0)
    frames = [Frame(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((90, 160), (200, 100), (64, 96))]
    for frame, together in zip(frames, stage(frames), strict=True):
        (alone,) = stage([frame])
        assert len(alone) > 0
        # Equally sure cells come in any order.
        together_by_place, alone_by_place = (np.lexsort(found.boxes.round(1).T) for found in (together, alone))
        np.testing.assert_allclose(together.boxes[together_by_place], alone.boxes[alone_by_place], atol=1e-3)
        np.testing.assert_allclose(together.scores[together_by_place], alone.scores[alone_by_place], atol=1e-5)
    assert stage([]) == []


@pytest.mark.parametrize("strange", [math.nan, math.inf])
def test_a_box_that_is_not_finite_drops_nobody_else(strange: float) -> None:
    boxes = torch.tensor([[0, 0, strange, 20], [10, 10, 30, 50], [40, 5, 60, 60]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    found, sure = nms(boxes, scores, DetectorSettings())
    assert found.tolist() == boxes[1:].tolist()
    assert sure.tolist() == scores[1:].tolist()
