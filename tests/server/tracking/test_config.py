from __future__ import annotations

import math

import pytest

from posewire_server.tracking import Similarity, TrackerConfig


def test_defaults_are_the_papers_where_the_paper_gives_them() -> None:
    config = TrackerConfig()
    assert (config.box_score_threshold, config.joint_score_threshold) == (0.5, 0.4)
    assert config.similarity is Similarity.MULTI_FLOW
    assert config.propagation


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("match_threshold", math.nan, "match_threshold is nan; it must lie in 0..1"),
        ("box_score_threshold", -0.1, "0..1"),
        ("pose_nms_oks", 1.5, "0..1"),
        ("queue_length", 0, "queue_length is 0; it must lie in 1..1000"),
        ("detect_every", 10_000, "1..1000"),
        ("queue_length", 2.5, "queue_length is 2.5; it must be a whole number"),
        ("detect_every", True, "detect_every is True; it must be a whole number"),
        ("similarity", "euclid", "choose one of bbox, pose, flow, multi-flow"),
    ],
)
def test_bad_settings_are_refused_with_the_range(setting: str, value: object, says: str) -> None:
    with pytest.raises(ValueError, match=says.replace(".", r"\.")):
        TrackerConfig(**{setting: value})  # type: ignore[arg-type]


def test_frames_without_detector_need_propagation() -> None:
    with pytest.raises(ValueError, match="switch propagation on or set detect_every to 1"):
        TrackerConfig(detect_every=3, propagation=False)


@pytest.mark.parametrize(
    ("similarity", "propagation", "needed"),
    [
        (Similarity.BBOX, False, False),
        (Similarity.POSE, False, False),
        (Similarity.BBOX, True, True),
        (Similarity.FLOW, False, True),
        (Similarity.MULTI_FLOW, False, True),
    ],
)
def test_flow_is_computed_only_where_something_uses_it(similarity: Similarity, propagation: bool, needed: bool) -> None:
    assert TrackerConfig(similarity=similarity, propagation=propagation).needs_flow is needed
