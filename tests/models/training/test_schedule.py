from __future__ import annotations

import math
from typing import Any

import pytest

from posewire_models.training.command import CONFIGS
from posewire_models.training.config import build, read_toml
from posewire_models.training.schedule import ScheduleConfig


def packaged(name: str) -> ScheduleConfig:
    return build(ScheduleConfig, read_toml(CONFIGS / name)["loop"]["schedule"])


@pytest.mark.parametrize(
    ("epoch", "rate"),
    [(0, 1e-3), (89, 1e-3), (90, 1e-4), (119, 1e-4), (120, 1e-5), (139, 1e-5)],
)
def test_the_papers_coco_schedule(epoch: int, rate: float) -> None:
    schedule = packaged("paper-coco.toml")
    assert (schedule.epochs, schedule.batch_size, schedule.weight_decay) == (140, 128, 0)
    assert schedule.rate(epoch / 140) == pytest.approx(rate)


@pytest.mark.parametrize(("epoch", "rate"), [(0, 1e-4), (9, 1e-4), (10, 1e-5), (15, 1e-6), (19, 1e-6)])
def test_the_papers_posetrack_schedule(epoch: int, rate: float) -> None:
    schedule = packaged("paper-posetrack.toml")
    assert schedule.epochs == 20
    assert schedule.rate(epoch / 20) == pytest.approx(rate)


def test_steps_of_a_run() -> None:
    assert ScheduleConfig(batch_size=10, lr=1, epochs=3).steps(examples=105) == 30  # incomplete batches are left out
    assert ScheduleConfig(batch_size=10, lr=1, samples=101).steps(examples=50) == 11


def test_a_set_smaller_than_a_batch_is_seen_as_often_as_asked() -> None:
    assert ScheduleConfig(batch_size=10, lr=1, epochs=3).steps(examples=7) == 3
    assert ScheduleConfig(batch_size=10, lr=1, samples=101).steps(examples=5) == 21


def test_cosine_with_warm_up() -> None:
    schedule = ScheduleConfig(batch_size=1, lr=1.0, samples=1, shape="cosine", warmup=0.1, floor=0.02)
    assert schedule.rate(0.05) == pytest.approx(0.5)
    assert schedule.rate(0.1) == pytest.approx(1.0)
    assert schedule.rate(0.55) == pytest.approx(0.51)
    assert schedule.rate(1.0) == pytest.approx(0.02)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({}, "epochs or samples"),  # no end
        ({"epochs": 1, "samples": 1}, "epochs or samples"),  # two ends
        ({"epochs": -1, "samples": 1}, "epochs or samples"),  # an end that is never reached
        ({"epochs": 10, "milestones": (9.0, 3.0)}, "must rise"),
        ({"epochs": 10, "milestones": (12.0,)}, "between 0 and 10"),
        ({"samples": 10, "milestones": (9.0,)}, "between 0 and 1"),
        ({"samples": 10, "shape": "line"}, "'step' or 'cosine'"),
        ({"samples": 10, "max_minutes": math.nan}, "must be finite"),  # would never be over
    ],
)
def test_impossible_schedules_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        ScheduleConfig(batch_size=1, lr=1, **settings)
