"""YOLOX for people: what it costs, what it tells, which settings it refuses."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from posewire_models.network_cost import count_parameters, network_cost
from posewire_models.yolox_detector import YoloxDetector, YoloxDetectorConfig


def test_it_is_yolox_nano_but_for_79_classes() -> None:
    network = YoloxDetector(YoloxDetectorConfig())
    classes = 3 * 79 * (64 + 1)
    assert (count_parameters(network) + classes) / 1e6 == pytest.approx(0.91, abs=0.005)  # published
    published = 1.08 / 2 * 1e9  # at 416x416, a multiply-add being two operations; batch norms are counted too
    more_classes = (52**2 + 26**2 + 13**2) * 79 * 64
    assert network_cost(network, (3, 416, 416)).multiply_adds + more_classes == pytest.approx(published, rel=0.04)


def test_every_cell_tells_of_six_numbers_and_hardly_of_people_at_first() -> None:
    told = YoloxDetector(YoloxDetectorConfig(input_size=(64, 96), width=0.5)).eval()(torch.randn(2, 3, 64, 96))
    assert told.shape == (2, 8 * 12 + 4 * 6 + 2 * 3, 6)
    assert told[..., 4:].sigmoid().max().item() < 0.05


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"width": 0.3}, "multiple of 1/8"),
        ({"width": 8}, "in (0, 4]"),
        ({"input_size": (100, 64)}, "positive multiples of 32"),
        ({"pixel_std": (0, 1, 1)}, "pixel_std"),
    ],
)
def test_bad_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        YoloxDetectorConfig(**settings)
