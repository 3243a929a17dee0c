"""Counting results."""

from __future__ import annotations

import math

import numpy as np

from posewire import FrameResult, FrameStatus, Person
from posewire.cli.account import Account


def result(frame: int, *ids: int, latency_ms: float = 10.0) -> FrameResult:
    people = tuple(Person(each, 1.0, np.zeros(4, np.float32), np.zeros((1, 3), np.float32), "flow") for each in ids)
    return FrameResult(frame, 0.0, people=people, latency_ms=latency_ms, timings_ms={"pose": float(frame)})


def test_an_empty_account_has_no_figures() -> None:
    account = Account()
    assert account.frames == 0
    assert math.isnan(account.fps)
    assert math.isnan(account.latency_ms(50))
    assert account.summary() == "0 frames tracked, 0 identities"


def test_every_result_counts_once() -> None:
    account = Account()
    for frame, ids in enumerate([(1, 2), (2, 3), (2,)]):
        account.add(result(frame, *ids, latency_ms=10.0 * (frame + 1)))
    for frame in (3, 4):
        account.add(FrameResult(frame, 0.0, FrameStatus.FAILED, reason="undecodable", message="no JPEG"))
    account.add(FrameResult(5, 0.0, FrameStatus.DROPPED, reason="superseded"))
    assert (account.frames, account.tracked, account.failed, account.dropped) == (6, 3, 2, 1)
    assert (account.ids, account.people) == ({1, 2, 3}, 1)
    assert account.latency_ms(50) == 20.0
    assert account.latency_ms(50, last=1) == 30.0
    assert account.stages_ms == {"pose": [0.0, 1.0, 2.0]}
    assert account.complaints() == ["2 x undecodable: no JPEG", "1 x superseded"]
    assert account.complaints(most=1)[-1] == "and 1 other reasons"
    assert account.summary().startswith("3 frames tracked, 2 failed, 1 dropped, 3 identities")
