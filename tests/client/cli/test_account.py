"""Counting results."""

from __future__ import annotations

import itertools
import math
import pickle
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from posewire import FrameResult, FrameStatus, Person, Reconnected
from posewire.cli import account as account_module
from posewire.cli.account import Account


def result(frame: int, *ids: int, latency_ms: float = 10.0) -> FrameResult:
    people = tuple(Person(each, 1.0, np.zeros(4, np.float32), np.zeros((1, 3), np.float32), "flow") for each in ids)
    return FrameResult(frame, 0.0, people=people, latency_ms=latency_ms, timings_ms={"pose": float(frame)})


def test_an_empty_account_has_no_figures() -> None:
    account = Account()
    assert account.frames == 0
    assert math.isnan(account.fps)
    assert math.isnan(account.latencies_ms.percentile(50))
    assert math.isnan(account.recent_latency_ms)
    assert account.summary() == "0 frames tracked, 0 identities"


def test_every_result_counts_once() -> None:
    account = Account()
    for frame, ids in enumerate([(1, 2), (2, 3), (2,)]):
        account.add(result(frame, *ids, latency_ms=10.0 * (frame + 1)))
    for frame in (3, 4):
        account.add(FrameResult(frame, 0.0, FrameStatus.FAILED, reason="undecodable", message="no JPEG"))
    account.add(FrameResult(5, 0.0, FrameStatus.DROPPED, reason="superseded"))
    assert (account.frames, account.tracked, account.failed, account.dropped) == (6, 3, 2, 1)
    assert (account.identities, account.people) == (3, 1)
    assert account.latencies_ms.percentile(50) == pytest.approx(20.0, rel=0.01)
    assert account.recent_latency_ms == 20.0
    assert {stage: times.count for stage, times in account.stages_ms.items()} == {"pose": 3}
    assert account.complaints() == ["2 x undecodable: no JPEG", "1 x superseded"]
    assert account.complaints(most=1)[-1] == "and 1 other reason"
    assert account.summary().startswith("3 frames tracked, 2 failed, 1 dropped, 3 identities")


def test_the_speed_is_that_of_tracked_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dropped frames do not count as speed: with slow networks, most frames of a camera are dropped."""
    seconds = itertools.count(1)
    monkeypatch.setattr(account_module, "time", SimpleNamespace(monotonic=lambda: next(seconds) / 10))
    account = Account()
    account.add(FrameResult(0, 0.0, FrameStatus.DROPPED, reason="superseded"))
    account.add(result(1))
    assert "fps" not in account.summary()
    for frame in range(2, 10):
        account.add(FrameResult(frame, 0.0, FrameStatus.DROPPED, reason="superseded"))
    next(seconds)
    account.add(result(10))
    assert account.fps == pytest.approx(5.0)


@pytest.mark.parametrize(("ids_go_on", "identities"), [(True, 3), (False, 5)])
def test_ids_that_begin_anew_are_other_identities(ids_go_on: bool, identities: int) -> None:
    account = Account()
    account.add(result(0, 1, 2))
    news = Reconnected("host:1", "stream", ids_go_on, "", "it was gone", attempts=1, outage_s=0.1, resent=0, lost=())
    account.add(replace(result(1, 1, 2), reconnected=news))
    account.add(result(2, 2, 3))
    assert account.summary().startswith(f"3 frames tracked, {identities} identities, reconnected 1 x")


def test_it_does_not_grow_with_the_frames() -> None:
    account = Account()

    def go_by(frames: range) -> int:
        """The size after this many more frames, with different times and messages."""
        for frame in frames:
            account.add(result(frame, 1, latency_ms=10 + frame % 90 / 7))
            account.add(FrameResult(frame, 0.0, FrameStatus.FAILED, reason="undecodable", message=f"at byte {frame}"))
        return len(pickle.dumps(account))

    size = go_by(range(10_000))
    assert go_by(range(10_000, 20_000)) < 1.2 * size  # ten thousand latencies alone are 90 kB
    assert sum(account.reasons.values()) == account.failed == 20_000
    assert account.complaints(most=1)[0] == "19900 x undecodable"


def test_it_does_not_grow_with_the_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """One person stays, others come and go."""
    monkeypatch.setattr(account_module, "_RECENT_IDS", 50)
    account = Account()
    for frame in range(1000):
        account.add(result(frame, 1, 1000 + frame, 1000 + frame - frame % 40))
    assert account.identities == 1001
    assert len(account._recent_ids) == 50


def test_recent_latency_is_of_the_last_frames() -> None:
    account = Account()
    for frame in range(200):
        account.add(result(frame, latency_ms=10.0 if frame < 150 else 90.0))
    account.add(result(200, latency_ms=math.nan))
    assert account.recent_latency_ms == 90.0
    assert account.latencies_ms.percentile(50) == pytest.approx(10.0, rel=0.01)
