"""Settings of scenes: what is rejected, and with which message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from posewire.synth import PRESETS, SceneConfig


@pytest.mark.parametrize(
    ("setting", "value", "said"),
    [
        ("width", 63, "64..4096 pixels"),
        ("height", 5000, "64..4096 pixels"),
        ("people", -1, "0..40 people"),
        ("people", 2.0, "whole number"),
        ("people", True, "whole number"),
        ("frames", 0, "1..1e+06 frames"),
        ("frames", 10**400, "1..1e+06 frames"),
        ("fps", 0.0, "1..240 frames a second"),
        ("fps", float("nan"), "1..240"),
        ("speed", float("inf"), "0.1..5"),
        ("seed", -1, "0.."),
        ("sensor_noise", "much", "a number"),
        ("motion_blur", 1.5, "0..1"),
        ("choreography", "dance", "territory, stroll, cross"),
        ("smallest_person", 0.9, "tallest_person"),  # larger than the tallest
    ],
)
def test_bad_settings_are_refused_with_the_range(setting: str, value: Any, said: str) -> None:
    with pytest.raises(ValueError, match=setting) as refused:
        SceneConfig(**{setting: value})
    assert said in str(refused.value)


def test_presets_are_the_six_named_ones_and_take_changes() -> None:
    assert list(PRESETS) == ["easy", "crossing", "occlusion", "fast-motion", "crowd", "camera-motion"]
    assert SceneConfig.preset("crowd", people=7) == replace(PRESETS["crowd"], people=7)


def test_unknown_preset_names_the_known_ones() -> None:
    with pytest.raises(ValueError, match="easy, crossing, occlusion"):
        SceneConfig.preset("hard")
