"""What all detectors do with their raw boxes."""

from __future__ import annotations

import pytest
import torch

from posewire_models.detectors.selection import DetectorSettings, select_people


def test_only_sound_boxes_above_the_threshold_are_left() -> None:
    boxes = torch.tensor(
        [
            [10.0, 10, 20, 30],
            [-5, -5, 15, 500],  # sticks out: clipped
            [30, 30, 20, 40],  # inside out
            [200, 10, 220, 30],  # beyond the right edge
            [1, float("nan"), 3, 4],
            [0, 0, 9, 9],  # score too low
        ]
    )
    scores = torch.tensor([0.3, 0.9, 0.8, 0.7, 0.6, 0.05])
    found = select_people(boxes, scores, (100, 100), DetectorSettings(score_threshold=0.1))
    assert found.boxes.tolist() == [[-0.5, -0.5, 15.0, 99.5], [10.0, 10.0, 20.0, 30.0]]
    assert found.scores.tolist() == pytest.approx([0.9, 0.3])


def test_the_best_are_kept() -> None:
    boxes = torch.tensor([[0.0, 0, 9, 9]]).repeat(5, 1)
    scores = torch.tensor([0.1, 0.5, 0.3, 0.9, 0.2])
    assert select_people(boxes, scores, (10, 10), DetectorSettings(max_people=2)).scores.tolist() == pytest.approx(
        [0.9, 0.5]
    )


def test_room_is_made_and_never_taken_away() -> None:
    settings = DetectorSettings(score_threshold=0.2, max_people=100)
    assert settings.with_room_for(300) == DetectorSettings(score_threshold=0.2, max_people=300)
    assert settings.with_room_for(30) == settings


@pytest.mark.parametrize("settings", [{"score_threshold": 1.5}, {"nms_iou": -0.1}, {"max_people": 0}])
def test_bad_settings_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(settings))):
        DetectorSettings(**settings)  # type: ignore[arg-type]
