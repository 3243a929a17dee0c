from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from posewire_models.training.checkpoint import load_checkpoint, save_checkpoint
from posewire_models.training.loop import train
from posewire_models.training.loop_config import LoopConfig
from posewire_models.training.schedule import ScheduleConfig
from tests.models.training.test_loop import ONE_PROCESS, Line, settings

SCHEDULE = ScheduleConfig(batch_size=8, lr=0.01, samples=10**6, shape="cosine", weight_decay=0.1)
BEGAN = {"schedule": SCHEDULE, "lr_factors": {"0": 0.5}}


def began(out: Path, **changes: Any) -> dict[str, Any]:
    """The checkpoint of a run that was stopped after three steps."""
    train(Line, settings(out, **{**BEGAN, **changes}), ONE_PROCESS, stop=lambda step: step == 3)
    return load_checkpoint(out / "checkpoint.pt")


def go_on(out: Path, **changes: Any) -> dict[str, Any]:
    """The checkpoint after one more step."""
    config: LoopConfig = settings(out, **{**BEGAN, **changes})
    train(Line, config, ONE_PROCESS, resume=True, stop=lambda step: True)
    return load_checkpoint(out / "checkpoint.pt")


def test_a_run_on_the_clock_stays_there(tmp_path: Path) -> None:
    state = began(tmp_path, schedule=dataclasses.replace(SCHEDULE, max_minutes=1.0))
    save_checkpoint(tmp_path / "checkpoint.pt", state | {"elapsed_s": 54.0})  # nine tenths are over
    state = go_on(tmp_path)
    assert state["optimiser"]["param_groups"][0]["lr"] < 0.05 * SCHEDULE.lr
    assert state["settings"]["schedule.max_minutes"] == 1.0


@pytest.mark.parametrize(
    ("changes", "warning"),
    [
        ({"seed": 2}, "loop.seed was 1 and is 2 now"),
        ({"schedule": dataclasses.replace(SCHEDULE, batch_size=4)}, "loop.schedule.batch_size was 8 and is 4 now"),
        (
            {"schedule": dataclasses.replace(SCHEDULE, max_minutes=2.0)},
            "loop.schedule.max_minutes was 0.0 and is 2.0 now",
        ),
        ({"schedule": dataclasses.replace(SCHEDULE, samples=800)}, "loop.schedule.samples was 1000000 and is 800 now"),
        ({}, ""),  # nothing to say
    ],
)
def test_other_settings_are_told(
    tmp_path: Path, changes: dict[str, Any], warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    began(tmp_path)
    go_on(tmp_path, **changes)
    assert warning in caplog.text
    assert bool(warning) == bool(caplog.text)


def test_weight_decay_and_factors_are_those_of_now(tmp_path: Path) -> None:
    before = began(tmp_path)["optimiser"]
    changed = {"schedule": dataclasses.replace(SCHEDULE, weight_decay=0.7), "lr_factors": {"0": 0.25}}
    after = go_on(tmp_path, **changed)["optimiser"]
    assert [group["factor"] for group in before["param_groups"]] == [1.0, 0.5]
    assert [(group["factor"], group["weight_decay"]) for group in after["param_groups"]] == [(1.0, 0.7), (0.25, 0.7)]
    assert float(after["state"][0]["step"]) == 4  # the moments went on


@pytest.mark.parametrize("factors", [{}, {"3": 0.5}])  # one group for two; as many, and as many in each
def test_groups_of_other_parameters_are_refused(tmp_path: Path, factors: dict[str, float]) -> None:
    began(tmp_path)
    with pytest.raises(ValueError, match=r"loop\.lr_factors divides .*its factors: 1\.0, 0\.5"):
        go_on(tmp_path, lr_factors=factors)
