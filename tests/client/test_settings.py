from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire import InvalidSettings, StreamSettings, TrackerSettings
from posewire.settings import StreamOptions


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"similarity": "iou"}, "multi-flow"),  # unknown literal: the known ones are listed
        ({"propagation": 1}, "True, False"),  # a number is no switch
        ({"queue_length": 0}, "1..1000"),  # below
        ({"queue_length": 1001}, "1..1000"),  # above
        ({"queue_length": 2.5}, "whole number"),  # no fraction
        ({"queue_length": True}, "whole number"),  # a switch is no number
        ({"match_threshold": float("nan")}, "0.0..1.0"),  # not a number
        ({"box_nms_iou": -0.1}, "0.0..1.0"),
        ({"detect_every": 0}, "detect_every is 0"),
        ({"codec": "gif"}, "'jpeg'"),
        ({"jpeg_quality": 101}, "1..100"),
        ({"drop_policy": "oldest"}, "'latest'"),
        ({"max_age_ms": -1}, "max_age_ms"),
        ({"name": "x" * 65}, "64"),
        ({"name": "caf\udce9"}, "UTF-8"),  # an argument in another encoding
        ({"joint_set": 17}, "text"),
        ({"raw_size": (0, 5)}, "raw_size"),
        ({"raw_size": (640.0, 480)}, "whole number"),
        ({"raw_size": (2**32, 480)}, "raw_size"),  # more than fits into a message
        ({"raw_size": 640}, "width, height"),
        ({"tracker": {"queue_length": 3}}, "TrackerSettings"),
        ({"queue_len": 3}, "queue_length"),  # unknown name: the known ones are listed
    ],
)
def test_unusable_settings_say_what_is_wrong(options: Any, words: str) -> None:
    with pytest.raises(InvalidSettings, match=words):
        StreamSettings().with_options(options)


def test_an_error_of_the_settings_is_a_value_error() -> None:
    with pytest.raises(ValueError, match="queue_length"):
        TrackerSettings(queue_length=-1)


def test_options_name_fields_of_the_tracker_and_of_the_stream_alike() -> None:
    base = StreamSettings(codec="png", tracker=TrackerSettings(queue_length=5, propagation=False))
    merged = base.with_options({"similarity": "pose", "queue_length": 8, "name": "door"})
    assert merged.tracker == TrackerSettings(similarity="pose", queue_length=8, propagation=False)
    assert (merged.codec, merged.name) == ("png", "door")
    assert base.tracker.queue_length == 5  # a copy


@given(st.integers(1, 1000), st.floats(0, 1), st.sampled_from([None, True, False]))
def test_whatever_is_in_range_is_kept(length: int, threshold: float, propagation: bool | None) -> None:
    settings = TrackerSettings(queue_length=length, match_threshold=threshold, propagation=propagation)
    assert StreamSettings().with_options({"tracker": settings}).tracker is settings


def test_numbers_of_numpy_are_numbers() -> None:
    tracker = TrackerSettings(queue_length=np.int64(3), match_threshold=np.float32(0.25))  # type: ignore[arg-type]
    settings = StreamSettings(tracker=tracker, max_in_flight=np.uint8(4), raw_size=tuple(np.array((64, 48))))  # type: ignore[arg-type]
    plain = StreamSettings(tracker=TrackerSettings(queue_length=3, match_threshold=0.25), max_in_flight=4)
    assert settings == plain.with_options({"raw_size": (64, 48)})
    assert "np." not in repr(settings)  # they go into JSON files


def test_the_guide_lists_every_setting() -> None:
    guide = (Path(__file__).parents[2] / "docs" / "client.md").read_text(encoding="utf-8")
    (rows,) = re.findall(r"\| setting \| default \| \|\n\|-\|-\|-\|\n(.*?)\n\n", guide, re.DOTALL)
    listed = {name for row in rows.splitlines() for name in re.findall(r"`(\w+)`", row.split("|")[1])}
    # What only raw frames of a program need, and the tracker's settings as one.
    assert listed == get_type_hints(StreamOptions).keys() - {"raw_size", "tracker"}
