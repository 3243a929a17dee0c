"""The centre-heatmap detector as a stage."""

from __future__ import annotations

import weakref

import numpy as np
import pytest
import torch
from torch import Tensor

from posewire_models.center_detector import CenterDetector, CenterMaps
from posewire_models.detectors.center_heatmap import center_heatmap_detector
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.frames import Frame
from posewire_models.network import Network
from tests.models.detectors.blocks import BLOCKS, frame_with_block
from tests.models.small_networks import small_network

CPU = torch.device("cpu")


class _FindsBrightBlock(Network):
    """Says that one person stands where the red channel is bright, in place of a trained network."""

    def __init__(self, detector: CenterDetector) -> None:
        super().__init__()
        self.config = detector.config

    def forward(self, images: Tensor) -> CenterMaps:
        batch, _, height, width = images.shape
        shape = (height // 4, width // 4)
        maps = CenterMaps(*(torch.full((batch, channels, *shape), -9.0) for channels in (1, 2, 2)))
        for row, image in enumerate(images):
            ys, xs = torch.nonzero(image[0] > 1.5, as_tuple=True)
            x, y = (xs.min() + xs.max() + 1) / 8, (ys.min() + ys.max() + 1) / 8  # between edges, as training has it
            cell = row, slice(None), int(y), int(x)
            maps.hm[cell] = 2.0
            maps.wh[cell] = torch.stack((xs.max() - xs.min() + 1, ys.max() - ys.min() + 1)) / 4
            maps.reg[cell] = torch.stack((x - int(x), y - int(y)))
        return maps


@pytest.mark.parametrize(("size", "box"), BLOCKS)
def test_boxes_come_back_in_frame_pixels(size: tuple[int, int], box: tuple[int, int, int, int]) -> None:
    detector = small_network("center_resnet")
    assert isinstance(detector, CenterDetector)
    stage = center_heatmap_detector(_FindsBrightBlock(detector), DetectorSettings(), CPU, "torch")  # type: ignore[arg-type]
    (found,) = stage([frame_with_block(size, box)])
    assert len(found) == 1
    # The block covers pixels box[0] to box[2] - 1, so its edges lie half a pixel outside of their centres.
    np.testing.assert_allclose(found.boxes[0], np.array(box) - 0.5, atol=1e-3)
    assert found.scores[0] == pytest.approx(0.8808, abs=1e-3)


def test_frames_do_not_depend_on_each_other() -> None:
    network = small_network("center_resnet")
    assert isinstance(network, CenterDetector)
    stage = center_heatmap_detector(network, DetectorSettings(score_threshold=0.0, max_people=20), CPU)
    rng = np.random.default_rng(0)
    frames = [Frame(rng.integers(0, 256, (*size, 3), dtype=np.uint8)) for size in ((90, 160), (200, 100), (64, 96))]
    for frame, together in zip(frames, stage(frames), strict=True):
        (alone,) = stage([frame])
        assert len(alone) > 0
        np.testing.assert_allclose(together.boxes, alone.boxes, atol=1e-3)
        np.testing.assert_allclose(together.scores, alone.scores, atol=1e-5)
    assert stage([]) == []


def test_the_network_of_torch_is_freed_once_openvino_has_it() -> None:
    network = small_network("center_resnet")
    assert isinstance(network, CenterDetector)
    kept = weakref.ref(network)
    stage = center_heatmap_detector(network, DetectorSettings(), CPU, "openvino")
    del network
    assert kept() is None
    assert stage([]) == []
