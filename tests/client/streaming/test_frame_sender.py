from __future__ import annotations

from typing import Any, cast

from posewire import SourceFrame, StreamSettings
from posewire._streaming.exchange import Exchange
from posewire._streaming.feed import SourceFeed
from posewire._streaming.frame_sender import FrameSender
from posewire._threads.workers import Workers
from tests.client.conftest import Packets


class _Connecting:
    """Stands in for an exchange, its call and its sending side: the first frame comes just before it is connected."""

    def __init__(self) -> None:
        self.outgoing = self.call = self.info = self
        self.settings = StreamSettings(codec="h264")
        self.calls = 2
        self.drops = True
        self.sent: list[int] = []
        self.dropped: list[int] = []

    async def wait_for_room(self, *, counting_untaken: bool) -> None:
        pass

    async def drop(self, frame: SourceFrame) -> None:
        self.dropped.append(frame.number)
        self.drops = False

    async def send(self, frame: SourceFrame, data: bytes, boxes: Any, *, taken_s: float) -> None:
        self.sent.append(frame.number)

    async def finish(self, failure: Exception | None, *, complete: bool) -> None:
        assert failure is None


async def test_packets_after_a_keyframe_that_was_dropped_wait_for_the_next() -> None:
    exchange = _Connecting()
    sender = FrameSender(cast(Exchange, exchange), Workers("encode", 1), keep_images=False)
    await sender.pump(SourceFeed(Packets("KppKp"), newest_wins=False))
    assert exchange.dropped == [0, 1, 2]
    assert exchange.sent == [3, 4]
