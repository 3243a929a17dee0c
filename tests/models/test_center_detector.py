"""The centre-heatmap detector: its maps, and their decoding against a plain loop."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor

from posewire_models.center_detector import CenterDetector, CenterDetectorConfig, CenterMaps, decode_centers


@pytest.mark.parametrize(
    ("trunk", "filters"), [("resnet18", (16, 16, 8)), ("mobilenet_v2", (16, 16, 8)), ("yolox_nano", (8,))]
)
def test_maps(trunk: str, filters: tuple[int, ...]) -> None:
    config = CenterDetectorConfig(
        trunk=trunk,
        width=0.5,
        input_size=(64, 96),
        deconv_filters=filters,
        deconv_kernels=(4,) * len(filters),
        head_channels=8,
    )
    maps = CenterDetector(config).eval()(torch.randn(2, 3, 64, 96))
    assert [tuple(field.shape) for field in maps] == [(2, 1, 16, 24), (2, 2, 16, 24), (2, 2, 16, 24)]
    assert maps.hm.sigmoid().mean().item() == pytest.approx(0.1, abs=0.05)  # the prior of the focal loss


def test_decoding_equals_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(3)
    maps = CenterMaps(*(torch.randn(2, channels, 9, 13, generator=generator) for channels in (1, 2, 2)))
    boxes, scores = decode_centers(maps, stride=4, top_k=10)
    for image in range(2):
        expected = _peaks(*(field[image] for field in maps))[:10]
        assert len(expected) == 10
        for row, (score, box) in enumerate(expected):
            assert scores[image, row].item() == pytest.approx(score, abs=1e-6)
            assert boxes[image, row].tolist() == pytest.approx(box, abs=1e-4)


def test_a_box_comes_back() -> None:
    stride, box = 4, (21.0, 10.0, 40.0, 61.0)
    x, y = (box[0] + box[2]) / 2 / stride, (box[1] + box[3]) / 2 / stride
    maps = CenterMaps(torch.full((1, 1, 16, 16), -9.0), torch.zeros(1, 2, 16, 16), torch.zeros(1, 2, 16, 16))
    row, column = int(y), int(x)
    maps.hm[0, 0, row, column] = 3.0
    maps.wh[0, :, row, column] = torch.tensor([(box[2] - box[0]) / stride, (box[3] - box[1]) / stride])
    maps.reg[0, :, row, column] = torch.tensor([x - column, y - row])
    boxes, scores = decode_centers(maps, stride, top_k=5)
    assert boxes[0, 0].tolist() == pytest.approx(box)
    assert scores[0, 0].item() == pytest.approx(1 / (1 + math.exp(-3)))


def test_more_peaks_asked_for_than_cells() -> None:
    maps = CenterMaps(torch.zeros(1, 1, 2, 2), torch.ones(1, 2, 2, 2), torch.zeros(1, 2, 2, 2))
    boxes, scores = decode_centers(maps, stride=4, top_k=100)
    assert boxes.shape == (1, 4, 4)
    assert scores.shape == (1, 4)


def test_unknown_trunk_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"known trunks: resnet18.*mobilenet_v2"):
        CenterDetectorConfig(trunk="vgg16")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0.3}, "give resnet18 whole channels"),
        ({"width": 0.3, "trunk": "yolox_nano", "deconv_filters": (8,), "deconv_kernels": (4,)}, "yolox_nano whole"),
        ({"head_channels": 0}, r"1\.\.2048"),
        ({"head_channels": 10**7}, r"1\.\.2048"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CenterDetectorConfig(**settings)
    CenterDetectorConfig(**settings | {"width": 0.35, "head_channels": 64, "trunk": "mobilenet_v2"})  # rounds


def test_a_trunk_of_stride_8_takes_at_most_three_steps() -> None:
    with pytest.raises(ValueError, match=r"1 to 3 channel counts of 1\.\.2048"):
        CenterDetectorConfig(trunk="yolox_nano", deconv_filters=(8,) * 4, deconv_kernels=(4,) * 4)


def _peaks(hm: Tensor, wh: Tensor, reg: Tensor) -> list[tuple[float, list[float]]]:
    """Every cell that no neighbour exceeds, as (score, box), best first."""
    _, height, width = hm.shape
    found = []
    for row in range(height):
        for column in range(width):
            around = hm[0, max(row - 1, 0) : row + 2, max(column - 1, 0) : column + 2]
            if hm[0, row, column] < around.max():
                continue
            x, y = column + reg[0, row, column].item(), row + reg[1, row, column].item()
            w, h = wh[0, row, column].item(), wh[1, row, column].item()
            box = [4 * (x - w / 2), 4 * (y - h / 2), 4 * (x + w / 2), 4 * (y + h / 2)]
            found.append((hm[0, row, column].sigmoid().item(), box))
    return sorted(found, reverse=True)
