"""What `posewire replay` requests from a server, and reports about a recording."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from posewire.cli.replay import _notes, _say_models, _settings
from posewire.v1 import pose_pb2, settings_pb2, track_pb2


def test_every_frame_counts_however_long_it_takes() -> None:
    config = settings_pb2.StreamConfig(
        codec=pose_pb2.CODEC_PNG,
        tracker=settings_pb2.TrackerSettings(queue_length=9),
        drop_policy=settings_pb2.DROP_POLICY_LATEST,
        max_age_ms=50,
        max_detect_every=4,
        resume=settings_pb2.ResumeRequest(token=b"t"),
        name="door",
    )
    recorded = config.SerializeToString()
    recording: Any = SimpleNamespace(config=config)
    assert _settings(recording) == settings_pb2.StreamConfig(
        codec=pose_pb2.CODEC_PNG,
        tracker=settings_pb2.TrackerSettings(queue_length=9),
        drop_policy=settings_pb2.DROP_POLICY_ALL,
        name="replay",
    )
    assert config.SerializeToString() == recorded  # the comparison goes by it


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, []),
        ({"ending": None}, ["has no end"]),
        ({"ending": None, "damage": "damaged at byte 7"}, []),  # which is said at the end
        ({"resumed": True}, ["continued an earlier one"]),
        ({"is_stretched": True}, ["ran less often"]),
        ({"is_video": True}, ["packets were dropped"]),
        ({"is_video": True, "outcomes": {0: track_pb2.TrackedFrame()}}, []),
    ],
)
def test_what_a_reader_of_the_result_should_know(changes: dict[str, Any], words: list[str]) -> None:
    started = track_pb2.StreamStarted()
    started.resume.resumed = changes.get("resumed", False)
    whole = {"ending": "closed", "damage": None, "started": started, "is_stretched": False, "is_video": False}
    outcomes = {0: track_pb2.TrackedFrame(), 1: track_pb2.DroppedFrame()}
    recording: Any = SimpleNamespace(**{**whole, "outcomes": outcomes, **changes})
    notes = list(_notes(recording))
    assert len(notes) == len(words)
    for note, word in zip(notes, words, strict=True):
        assert word in note


@pytest.mark.parametrize(
    ("recorded", "said"),
    [
        ({"bundle": "nano", "flow": "DIS", "bundle_version": 2}, ""),
        ({"bundle": "nano", "bundle_version": 1}, "bundle_version 1, now 2; flow none, now DIS"),
        ({"bundle": "nano", "flow": "DIS", "bundle_version": 2, "flip_test": True}, "flip test, now without it"),
    ],
)
def test_other_networks_are_told(recorded: dict[str, Any], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    now = track_pb2.ServerModels(bundle="nano", flow="DIS", bundle_version=2)
    _say_models(track_pb2.ServerModels(**recorded), now)
    assert capsys.readouterr().err == (f"posewire: recorded with other networks: {said}\n" if said else "")
