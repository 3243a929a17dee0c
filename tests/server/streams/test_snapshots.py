from __future__ import annotations

import errno
import os
import stat
from dataclasses import make_dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire.joints import COCO17, POSETRACK15
from posewire_server.streams import snapshots
from posewire_server.streams.snapshots import Snapshot, Snapshots, TokenRefused, load_key
from posewire_server.tracking import Boxes, BoxSource, Tracker, TrackerConfig

_CONFIG = TrackerConfig()
_KEY = bytes(range(32))


def _step(tracker: Tracker, frame: int) -> list[int]:
    """Three people who walk on; the first is away for a while."""
    people = [1, 2] if frame in (4, 5) else [0, 1, 2]
    corners = np.array([[100.0 * person + 2 * frame, 50.0] for person in people])
    boxes = Boxes.of(
        np.concatenate([corners, corners + (40, 120)], axis=1), np.full(len(people), 0.9), BoxSource.DETECTOR
    )
    unified = tracker.unify(boxes, None)
    joints = np.full((len(unified), 17, 3), 0.9, np.float32)
    grid = np.stack(np.meshgrid([4, 20, 36], np.linspace(5, 115, 6)), -1).reshape(-1, 2)[:17]
    joints[..., :2] = unified.xyxy[:, None, :2] + grid
    return sorted(tracker.update(unified, joints).ids.tolist())


def _tracker(frames: int) -> Tracker:
    tracker = Tracker(_CONFIG, COCO17.sigmas)
    for frame in range(frames):
        _step(tracker, frame)
    return tracker


@pytest.mark.parametrize("frames", [0, 1, 5, 15])
def test_a_tracker_goes_on_from_its_token_as_if_nothing_had_happened(frames: int) -> None:
    original = _tracker(frames)
    box = Snapshots(_KEY, 60, COCO17)
    token = box.issue(Snapshot(original.state(), (240, 320)), _CONFIG)
    snapshot = box.redeem(token, _CONFIG)
    assert snapshot.frame_size == (240, 320)
    resumed = Tracker(_CONFIG, COCO17.sigmas)
    resumed.restore(snapshot.state)
    for frame in range(frames, frames + 5):
        assert _step(resumed, frame) == _step(original, frame)
    assert resumed.identities == original.identities


def test_the_time_of_the_last_frame_comes_along() -> None:
    box = Snapshots(_KEY, 60, COCO17)
    token = box.issue(Snapshot(_tracker(2).state(), (240, 320), 12.5, 0.04), _CONFIG)
    snapshot = box.redeem(token, _CONFIG)
    assert (snapshot.frame_s, snapshot.interval_s) == (12.5, 0.04)


def _token(clock_s: float = 1000.0) -> bytes:
    return Snapshots(_KEY, 60, COCO17, lambda: clock_s).issue(Snapshot(_tracker(3).state(), None), _CONFIG, "ab12")


@pytest.mark.parametrize(
    ("now_s", "accepted"),
    [
        (1000, True),
        (1060, True),
        (1061, False),  # too old
        (995, True),  # the other server's clock is a little ahead
        (900, False),  # and this is no clock
    ],
)
def test_tokens_grow_old(now_s: float, accepted: bool) -> None:
    box = Snapshots(_KEY, 60, COCO17, lambda: now_s)
    assert box.stream_of(_token()) == ("ab12" if accepted else "")
    if accepted:
        box.redeem(_token(), _CONFIG)
    else:
        with pytest.raises(TokenRefused, match=r"accepted for 60 s \(resume_lifetime_s\)|synchronise them"):
            box.redeem(_token(), _CONFIG)


def test_a_token_from_a_server_whose_clock_is_ahead_says_so() -> None:
    ahead, box = Snapshots(_KEY, 60, COCO17, clock=lambda: 1037.0), Snapshots(_KEY, 60, COCO17, clock=lambda: 1000.0)
    token = ahead.issue(Snapshot(_tracker(1).state(), None), _CONFIG)
    with pytest.raises(TokenRefused, match=r"given 37 s from now, .* differ by more than 10 s .* synchronise them"):
        box.redeem(token, _CONFIG)


def test_tokens_are_for_the_settings_they_were_issued_for(monkeypatch: pytest.MonkeyPatch) -> None:
    box = Snapshots(_KEY, 60, COCO17, lambda: 1000.0)
    with pytest.raises(TokenRefused, match="other tracker settings"):
        box.redeem(_token(), replace(_CONFIG, match_threshold=0.3))
    box.redeem(_token(), replace(_CONFIG, max_people=20))  # for each server to say
    with pytest.raises(TokenRefused, match="other joints"):
        Snapshots(_KEY, 60, POSETRACK15, lambda: 1000.0).redeem(_token(), _CONFIG)
    token = _token()
    monkeypatch.setattr(snapshots, "_VERSION", 1)
    with pytest.raises(TokenRefused, match="another version"):
        box.redeem(token, _CONFIG)
    of_another_server = make_dataclass("Newer", [("camera", str, "door")], bases=(Snapshot,), frozen=True)
    newer = of_another_server(_tracker(3).state(), None)
    with pytest.raises(TokenRefused, match="another version"):
        box.redeem(box.issue(newer, _CONFIG), _CONFIG)


@given(place=st.integers(0, 2000), flip=st.integers(1, 255))
def test_no_byte_can_be_changed(place: int, flip: int) -> None:
    token = bytearray(_STABLE)
    token[place % len(token)] ^= flip
    with pytest.raises(TokenRefused, match=r"not signed.* need the same --resume-key"):
        Snapshots(_KEY, 60, COCO17, lambda: 1000.0).redeem(bytes(token), _CONFIG)


_STABLE = _token()


@given(token=st.binary(max_size=200))
def test_anything_else_is_refused(token: bytes) -> None:
    with pytest.raises(TokenRefused):
        Snapshots(_KEY, 60, COCO17).redeem(token, _CONFIG)


def test_another_key_does_not_do() -> None:
    with pytest.raises(TokenRefused, match=r"not signed.* need the same --resume-key"):
        Snapshots(bytes(32), 60, COCO17, lambda: 1000.0).redeem(_token(), _CONFIG)


def test_a_forgotten_token_is_no_matter_of_keys() -> None:
    with pytest.raises(TokenRefused, match="empty; send the newest resume_token"):
        Snapshots(_KEY, 60, COCO17).redeem(b"", _CONFIG)


def test_a_key_is_made_once_and_for_its_owner_only(tmp_path: Path) -> None:
    file = tmp_path / "state" / "resume.key"
    key = load_key(file)
    assert len(key) == 32
    assert load_key(file) == key
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["resume.key"]
    assert load_key(tmp_path / "another.key") != key


def test_the_default_key_is_kept_in_the_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert load_key(None) == (tmp_path / "posewire" / "resume.key").read_bytes()
    monkeypatch.delenv("XDG_STATE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_key(None) == (tmp_path / ".local" / "state" / "posewire" / "resume.key").read_bytes()


def test_where_nothing_can_be_kept_the_server_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    assert len(load_key(None)) == 32
    key = tmp_path / "file" / "posewire" / "resume.key"
    assert f"no resume key can be kept ({key}: Not a directory): " in caplog.text
    assert caplog.text.endswith("name a file for it with --resume-key\n")


def test_a_user_without_a_home_folder_has_a_key_too(monkeypatch: pytest.MonkeyPatch) -> None:
    def nowhere() -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", nowhere)
    assert len(load_key(None)) == 32


def test_where_a_key_cannot_be_made_the_message_names_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def link(source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted", str(source), None, str(target))

    monkeypatch.setattr(os, "link", link)  # as on a file system without hard links
    file = tmp_path / "resume.key"
    with pytest.raises(OSError, match=r"not permitted; make this file of 32 random bytes yourself") as raised:
        load_key(file)
    assert raised.value.filename == str(file)
    assert not list(tmp_path.iterdir())


def test_a_key_that_is_too_short(tmp_path: Path) -> None:
    (tmp_path / "short.key").write_bytes(b"secret")
    with pytest.raises(ValueError, match="has 6 bytes; it needs 32"):
        load_key(tmp_path / "short.key")
