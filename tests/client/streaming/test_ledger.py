from __future__ import annotations

import time

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posewire import AccountingError, FrameStatus, InvalidSettings, Person, SourceFrame
from posewire._streaming.ledger import Ledger


def track(ledger: Ledger, number: int, ids: tuple[int, ...] = ()) -> None:
    nothing = np.zeros(0, np.float32)
    people = tuple(Person(each, 0.5, nothing, nothing, "detector") for each in ids)
    ledger.record_tracked(number, people=people, size=(4, 3), timings_ms={}, detector_ran=True, detect_every=1)


@given(
    outcomes=st.lists(st.sampled_from(["tracked", "failed", "dropped", "unreadable", "superseded"]), max_size=30),
    gaps=st.lists(st.integers(1, 5), min_size=30, max_size=30),
    order=st.randoms(use_true_random=False),
)
def test_every_frame_has_one_result_in_order_whatever_the_order_of_answers(
    outcomes: list[str], gaps: list[int], order: object
) -> None:
    ledger, numbers, number = Ledger(), [], -1
    for outcome, gap in zip(outcomes, gaps, strict=False):
        number += gap
        numbers.append(number)
        if outcome in ("unreadable", "superseded"):
            status = FrameStatus.FAILED if outcome == "unreadable" else FrameStatus.DROPPED
            ledger.record_skipped(SourceFrame(number, number / 10), status, outcome, "why")
        else:
            ledger.record_sent(SourceFrame(number, number / 10))
    released = ledger.release()
    sent = [(n, outcome) for n, outcome in zip(numbers, outcomes, strict=True) if outcome in list(FrameStatus)]
    order.shuffle(sent)  # type: ignore[attr-defined]
    for n, outcome in sent:
        if outcome == "tracked":
            track(ledger, n)
        else:
            ledger.record_missed(n, FrameStatus(outcome), "reason", "message")
        released += ledger.release()
    assert [result.frame for result in released] == numbers
    assert [result.time_s for result in released] == [n / 10 for n in numbers]
    counts = [outcomes.count(outcome) for outcome in ("tracked", "failed", "dropped")]
    ledger.check_call(sum(counts), *counts)
    summary = ledger.summary(identities=3)
    assert summary.frames == len(outcomes) == summary.tracked + summary.failed + summary.dropped
    assert summary.sent == sum(counts)


def test_a_result_waits_for_those_before_it() -> None:
    ledger = Ledger()
    for number in range(3):
        ledger.record_sent(SourceFrame(number, 0.0))
    track(ledger, 2)
    track(ledger, 1)
    assert ledger.release() == []
    assert ledger.in_flight == 1
    track(ledger, 0)
    assert [result.frame for result in ledger.release()] == [0, 1, 2]


def test_latency_counts_from_when_the_frame_was_read() -> None:
    ledger = Ledger()
    ledger.record_sent(SourceFrame(0, 0.0), taken_s=time.perf_counter() - 100.0)
    track(ledger, 0)
    (result,) = ledger.release()
    assert 100_000 <= result.latency_ms < 1_000_000


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (0, "a second time"),  # answered before
        (7, "never sent"),  # beyond the last
    ],
)
def test_an_answer_that_fits_no_frame_is_an_error(number: int, words: str) -> None:
    ledger = Ledger()
    ledger.record_sent(SourceFrame(0, 0.0))
    track(ledger, 0)
    with pytest.raises(AccountingError, match=words):
        track(ledger, number)


def test_numbers_must_increase() -> None:
    ledger = Ledger()
    ledger.record_sent(SourceFrame(4, 0.0))
    with pytest.raises(InvalidSettings, match="frame number 4 follows 4"):
        ledger.record_sent(SourceFrame(4, 0.0))


@pytest.mark.parametrize(
    ("account", "words"),
    [
        ((2, 1, 0, 0), "received 2 for 1"),  # the server counts a frame more
        ((1, 0, 1, 0), "tracked 0 for 1, failed 1 for 0"),  # it calls a tracked frame failed
    ],
)
def test_the_servers_account_must_agree(account: tuple[int, int, int, int], words: str) -> None:
    ledger = Ledger()
    ledger.record_sent(SourceFrame(0, 0.0))
    track(ledger, 0)
    with pytest.raises(AccountingError, match=f"answered: {words};"):
        ledger.check_call(*account)


def test_a_frame_without_an_answer_is_named() -> None:
    ledger = Ledger()
    for number in (3, 5):
        ledger.record_sent(SourceFrame(number, 0.0))
    track(ledger, 3)
    with pytest.raises(AccountingError, match="1 of 2 frames") as caught:
        ledger.summary(identities=0)
    assert caught.value.unanswered == (5,)


def test_each_call_has_its_own_account() -> None:
    ledger = Ledger()
    for number in range(3):
        ledger.record_sent(SourceFrame(number, 0.0))
    track(ledger, 0)
    track(ledger, 1)
    ledger.begin_call(ids_go_on=True)
    assert ledger.owed == 0
    for number in range(3):
        ledger.record_resent(number)
    ledger.record_missed(0, FrameStatus.FAILED, "reason", "message")  # which has its result
    with pytest.raises(AccountingError, match="frame 0 a second time"):
        track(ledger, 0)
    assert (ledger.owed, ledger.in_flight) == (2, 1)
    ledger.begin_call(ids_go_on=True)
    ledger.record_resent(2)
    with pytest.raises(AccountingError, match="frame 1 a second time"):
        track(ledger, 1)  # on this call it was not sent
    track(ledger, 2)
    ledger.check_call(1, 1, 0, 0)
    assert ledger.owed == 0
    summary = ledger.summary()
    assert (summary.frames, summary.sent, summary.tracked) == (3, 3, 3)


def test_what_a_server_returns_counts_there_as_dropped() -> None:
    ledger = Ledger()
    for number in range(2):
        ledger.record_sent(SourceFrame(number, 0.0))
    track(ledger, 0)
    ledger.record_returned(1)
    ledger.check_call(2, 1, 0, 1)
    ledger.begin_call(ids_go_on=True)
    for number in range(2):
        ledger.record_resent(number)
        ledger.record_returned(number)
    ledger.check_call(2, 0, 0, 2)
    assert (ledger.owed, ledger.unanswered) == (0, (1,))
    with pytest.raises(AccountingError, match="frame 0 a second time"):
        track(ledger, 0)
    ledger.begin_call(ids_go_on=True)
    ledger.record_resent(1)
    track(ledger, 1)
    assert [result.tracked for result in ledger.release()] == [True, True]
    assert ledger.summary().dropped == 0


@pytest.mark.parametrize(("ids", "said", "total"), [((1,), 2, 7), ((1,), None, 6), ((), None, 5)])
def test_ids_that_begin_anew_are_other_ids(ids: tuple[int, ...], said: int | None, total: int) -> None:
    ledger = Ledger()
    ledger.record_sent(SourceFrame(0, 0.0))
    track(ledger, 0, ids=(1, 5))
    ledger.begin_call(ids_go_on=False)
    ledger.record_sent(SourceFrame(1, 0.0))
    track(ledger, 1, ids=ids)
    assert ledger.summary(identities=said).identities == total
