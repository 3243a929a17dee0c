from __future__ import annotations

import asyncio
import logging
import time

import pytest
from google.protobuf import timestamp_pb2

from posewire.v1 import track_pb2
from posewire_server.errors import Undecodable
from posewire_server.observability.metrics import Metrics
from posewire_server.streams import outbox as outbox_module
from posewire_server.streams.inbox import DropReason
from posewire_server.streams.outbox import FrameId, Outbox


class Wire:
    """Writes one at a time, as gRPC demands, and only while it is open."""

    def __init__(self) -> None:
        self.sent: list[track_pb2.TrackResponse] = []
        self.open = asyncio.Event()
        self.open.set()
        self.writing = asyncio.Event()

    async def write(self, response: track_pb2.TrackResponse) -> None:
        assert not self.writing.is_set(), "a second write began before the first had ended"
        self.writing.set()
        await self.open.wait()
        self.writing.clear()
        self.sent.append(response)


def _id(number: int) -> FrameId:
    return FrameId(number, timestamp_pb2.Timestamp())


async def test_drops_ride_with_the_next_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outbox_module, "_REPORT_DROPS_AFTER_S", 0)  # nor does the reporter repeat them later
    wire, metrics = Wire(), Metrics()
    outbox, given_up = Outbox(wire.write, metrics), []
    outbox.on_given_up = lambda: given_up.append(1)
    reporting = asyncio.create_task(outbox.report_drops())
    outbox.accounts.received = 5
    outbox.dropped(_id(1), DropReason.SUPERSEDED)
    outbox.dropped(_id(2), DropReason.TOO_OLD)
    await outbox.failed(_id(3), Undecodable("cut off"))
    await outbox.tracked(track_pb2.TrackedFrame(number=4), b"token")
    reporting.cancel()
    first, second = wire.sent
    assert [(frame.number, frame.reason) for frame in first.dropped] == [
        (1, track_pb2.DROP_REASON_SUPERSEDED),
        (2, track_pb2.DROP_REASON_TOO_OLD),
    ]
    assert first.failed.message == "cut off"
    assert not second.dropped
    assert second.resume_token == b"token"
    accounts = outbox.accounts
    assert (accounts.tracked, accounts.failed, accounts.dropped, accounts.open) == (1, 1, 2, 1)
    assert len(given_up) == 3
    counted = metrics.registry.get_sample_value
    assert counted("posewire_frames_failed_total", {"reason": "undecodable"}) == 1
    assert counted("posewire_frames_dropped_total", {"reason": "too-old"}) == 1


@pytest.mark.parametrize(
    ("reason", "is_late"),
    [
        (DropReason.SUPERSEDED, True),
        (DropReason.TOO_OLD, True),
        (DropReason.DRAINING, False),  # the server stops
        (DropReason.OVER_RATE, False),  # the client sends more than it may
    ],
)
async def test_only_what_the_server_had_no_time_for_is_late(reason: DropReason, *, is_late: bool) -> None:
    outbox = Outbox(Wire().write, Metrics())
    outbox.dropped(_id(1), reason)
    assert (outbox.late, outbox.accounts.dropped) == (is_late, 1)


async def test_drops_go_alone_if_nothing_else_goes() -> None:
    wire = Wire()
    outbox = Outbox(wire.write, Metrics())
    reporting = asyncio.create_task(outbox.report_drops())
    outbox.dropped(_id(1), DropReason.SUPERSEDED)
    async with asyncio.timeout(10):
        await wire.writing.wait()
    reporting.cancel()
    await asyncio.gather(reporting, return_exceptions=True)
    await outbox.summary(identities=0)
    alone, summary = wire.sent
    assert alone.WhichOneof("event") is None
    assert [frame.number for frame in alone.dropped] == [1]
    assert not summary.dropped


async def test_a_write_that_has_begun_is_finished_before_the_next() -> None:
    wire = Wire()
    outbox = Outbox(wire.write, Metrics())
    wire.open.clear()
    first = asyncio.create_task(outbox.tracked(track_pb2.TrackedFrame(number=1)))
    await wire.writing.wait()
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    second = asyncio.create_task(outbox.tracked(track_pb2.TrackedFrame(number=2)))
    await asyncio.sleep(0)
    wire.open.set()
    await second
    assert [response.tracked.number for response in wire.sent] == [1, 2]


async def test_a_write_that_fails_is_told_to_its_sender_and_logged_if_that_has_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    began, call_ends = asyncio.Event(), asyncio.Event()

    async def write(_: track_pb2.TrackResponse) -> None:
        began.set()
        await call_ends.wait()
        raise RuntimeError("the call has ended")

    outbox = Outbox(write, Metrics())
    gone, there = (asyncio.create_task(outbox.tracked(track_pb2.TrackedFrame(number=each))) for each in (1, 2))
    await began.wait()
    gone.cancel()
    await asyncio.gather(gone, return_exceptions=True)
    call_ends.set()
    with caplog.at_level(logging.DEBUG), pytest.raises(RuntimeError, match="the call has ended"):
        await there
    assert "a response could not be sent: the call has ended" in caplog.text


async def test_whoever_does_not_read_is_held_back() -> None:
    wire = Wire()
    outbox = Outbox(wire.write, Metrics())
    wire.open.clear()
    for number in range(999):
        outbox.dropped(_id(number), DropReason.SUPERSEDED)
    await outbox.caught_up()  # not too many yet
    outbox.dropped(_id(999), DropReason.SUPERSEDED)
    held_back = asyncio.create_task(outbox.caught_up())
    await wire.writing.wait()
    assert not held_back.done()
    wire.open.set()
    await held_back
    assert len(wire.sent[0].dropped) == 1000


async def test_whoever_leaves_one_response_unread_for_long_is_held_back(monkeypatch: pytest.MonkeyPatch) -> None:
    wire = Wire()
    outbox = Outbox(wire.write, Metrics())
    wire.open.clear()
    stuck = asyncio.create_task(outbox.tracked(track_pb2.TrackedFrame(number=1)))
    await wire.writing.wait()
    await outbox.caught_up()  # not for long yet
    began_s = outbox.sending_since_s
    assert began_s is not None
    monkeypatch.setattr(time, "monotonic", lambda: began_s + 1.1)
    held_back = asyncio.create_task(outbox.caught_up())
    for _ in range(20):
        await asyncio.sleep(0)
    assert not held_back.done()
    wire.open.set()
    await asyncio.gather(stuck, held_back)
    assert outbox.sending_since_s is None


@pytest.mark.parametrize("grace_s", [0.0, 1.5])
async def test_the_drain_says_how_long(grace_s: float) -> None:
    wire = Wire()
    await Outbox(wire.write, Metrics()).drain(grace_s, b"token")
    assert wire.sent[0].drain.grace.ToMilliseconds() == grace_s * 1000
    assert wire.sent[0].resume_token == b"token"
