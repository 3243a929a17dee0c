from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any, get_type_hints

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire import InvalidSettings, StreamSettings, TrackerSettings
from posewire.joints import JOINT_SETS
from posewire.settings import StreamOptions
from posewire.v1 import pose_pb2, settings_pb2
from posewire_server.config import LimitsConfig
from posewire_server.errors import InvalidRequest
from posewire_server.tracking.config import TrackerConfig
from posewire_server.wire.requests import settings_from


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
        ({"detect_every": 2, "propagation": False}, "while propagation is off"),
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


NUMBERS = {
    field.name: field.type
    for kind in (TrackerSettings, StreamSettings)
    for field in dataclasses.fields(kind)
    if field.type in ("int", "float", "int | None", "float | None")
}
OWN = {"jpeg_quality", "max_in_flight"}  # of the client alone


def server_takes(name: str, value: float) -> bool:
    config = settings_pb2.StreamConfig(codec=pose_pb2.CODEC_JPEG)
    message = config if name in settings_pb2.StreamConfig.DESCRIPTOR.fields_by_name else config.tracker
    try:
        setattr(message, name, value)
        settings_from(config, TrackerConfig(), LimitsConfig(max_people=1000), JOINT_SETS["coco17"])
    except (InvalidRequest, ValueError):  # the latter from the message, which cannot hold it
        return False
    return True


def client_takes(name: str, value: float) -> bool:
    try:
        StreamSettings().with_options({name: value})  # type: ignore[misc]  # any name there is
    except InvalidSettings:
        return False
    return True


@pytest.mark.parametrize("name", sorted(NUMBERS.keys() - OWN))
def test_client_and_server_take_the_same_numbers(name: str) -> None:
    whole = "int" in NUMBERS[name]
    values = (-1, 0, 1, 2, 1000, 1001, 2**32 - 1, 2**32) if whole else (-0.01, 0.0, 0.5, 1.0, 1.01)
    taken = [value for value in values if client_takes(name, value)]
    assert taken == [value for value in values if server_takes(name, value)]
    assert taken


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
    # Except what only raw frames from programs need; the tracker's settings are passed as one.
    assert listed == get_type_hints(StreamOptions).keys() - {"raw_size", "tracker"}
