from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pytest

from posewire import SourceError, SourceFrame
from posewire._streaming.feed import SourceFeed
from posewire.sources import ArraySource
from tests.client.conftest import packets


class StagedSource(ArraySource):
    """Yields its frames when the test releases them."""

    def __init__(self, frames: Iterable[Any], *, silence_s: float | None = None):
        super().__init__(frames, live=True)
        self.silence_s = silence_s  # type: ignore[assignment]
        self.given = threading.Semaphore(0)
        self.taken = threading.Semaphore(0)
        self.closed = False

    def __iter__(self) -> Iterator[SourceFrame]:
        for frame in super().__iter__():
            self.taken.release()
            self.given.acquire()
            yield frame
        self.taken.release()
        self.given.acquire()

    def close(self) -> None:
        self.closed = True

    async def give(self, count: int) -> None:
        """Release `count` frames; returns when they have arrived in the feed."""
        for _ in range(count):
            await asyncio.to_thread(self.taken.acquire)
            self.given.release()
        await asyncio.to_thread(self.taken.acquire)
        self.taken.release()


def picture() -> Any:
    return np.zeros((4, 4, 3), np.uint8)


class PacketFrames(StagedSource):
    def __iter__(self) -> Iterator[SourceFrame]:
        for frame in self._frames:
            assert isinstance(frame, SourceFrame)
            self.taken.release()
            self.given.acquire()
            yield frame
        self.taken.release()
        self.given.acquire()


async def test_of_a_live_source_the_newest_frame_wins_and_the_others_are_told() -> None:
    source = StagedSource([picture() for _ in range(6)])
    feed = SourceFeed(source, newest_wins=True)
    await source.give(4)
    items = [await feed.next() for _ in range(4)]
    assert [(item.frame.number, item.superseded) for item in items if item] == [
        (0, True),
        (1, True),
        (2, True),
        (3, False),
    ]
    assert [item.frame.image is None for item in items if item] == [True, True, True, False]
    source.given.release(3)
    assert [(item.frame.number) for item in [await feed.next(), await feed.next()] if item] == [4, 5]
    assert await feed.next() is None
    assert feed.exhausted
    await feed.aclose()
    assert source.closed


async def test_a_frame_that_could_not_be_read_is_not_superseded() -> None:
    frames = [SourceFrame(0, 0.0, problem="torn"), picture(), picture()]
    source = StagedSource(frames)
    feed = SourceFeed(source, newest_wins=True)
    await source.give(3)
    items = [await feed.next() for _ in range(3)]
    assert [(item.frame.problem, item.superseded) for item in items if item] == [
        ("torn", False),
        ("", True),
        ("", False),
    ]
    source.given.release(9)
    await feed.aclose()


async def test_a_file_waits_until_its_frames_are_taken() -> None:
    read: list[int] = []

    def frames() -> Iterator[Any]:
        for number in range(9):
            read.append(number)
            yield picture()

    feed = SourceFeed(ArraySource(frames()), newest_wins=False)
    for number in range(9):
        item = await feed.next()
        assert item is not None
        assert (item.frame.number, item.superseded) == (number, False)
        assert len(read) <= number + 4  # this one, two that wait, one in hand
    assert await feed.next() is None
    await feed.aclose()


async def test_a_file_is_read_no_further_once_the_feed_is_closed() -> None:
    read: list[int] = []

    def frames() -> Iterator[Any]:
        for number in range(1000):
            read.append(number)
            yield picture()

    feed = SourceFeed(ArraySource(frames()), newest_wins=False)
    assert await feed.next() is not None
    await feed.aclose()
    assert len(read) <= 4


async def test_packets_are_given_up_until_the_next_keyframe(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posewire._streaming.feed._PACKETS_WAITING", 4)
    damaged = SourceFrame(6, 0.6, problem="damaged")
    source = PacketFrames([*packets("Kppppp"), damaged, *packets("Kp")])
    feed = SourceFeed(source, newest_wins=True)
    await source.give(9)
    items = [await feed.next() for _ in range(9)]
    # Four wait when the fifth arrives: all are dropped, and so are those that depend on them.
    assert [item.superseded for item in items if item] == [True] * 6 + [False] * 3
    assert items[6] is not None
    assert items[6].frame.problem == "damaged"
    source.given.release(9)
    await feed.aclose()


@pytest.mark.parametrize(("backlog", "superseded"), [("Kpppppppppp", True), ("Kppppppppp", False)])
async def test_a_keyframe_replaces_a_backlog_of_more_than_a_second(backlog: str, superseded: bool) -> None:
    source = PacketFrames(packets(f"{backlog}Kp"))
    feed = SourceFeed(source, newest_wins=True)
    await source.give(len(backlog) + 2)
    items = [await feed.next() for _ in range(len(backlog) + 2)]
    assert [item.superseded for item in items if item] == [superseded] * len(backlog) + [False] * 2
    source.given.release(9)
    await feed.aclose()


async def test_a_packet_that_could_not_be_read_supersedes_none_that_wait() -> None:
    damaged = SourceFrame(2, 0.2, problem="damaged")
    source = PacketFrames([*packets("KP"), damaged, SourceFrame(3, 0.3, packet=b"x", keyframe=False)])
    feed = SourceFeed(source, newest_wins=True)
    await source.give(4)
    items = [await feed.next() for _ in range(4)]
    assert [(item.frame.packet, item.superseded) for item in items if item] == [
        (b"x", False),
        (b"x", False),
        (None, False),
        (b"x", False),
    ]
    source.given.release(9)
    await feed.aclose()


async def test_a_live_source_that_goes_silent_is_an_error() -> None:
    source = StagedSource([picture()], silence_s=0.05)
    feed = SourceFeed(source, newest_wins=True)
    with pytest.raises(SourceError, match=r"nothing for 0\.05 s"):
        await feed.next()
    source.given.release(9)
    await feed.aclose()


async def test_frames_that_nobody_takes_end_a_live_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("posewire._streaming.feed._MOST_WAITING", 2)
    source = StagedSource([picture() for _ in range(9)])
    feed = SourceFeed(source, newest_wins=True)
    await source.give(2)
    source.given.release(9)
    await asyncio.to_thread(feed._thread.join)
    for _ in range(2):
        assert await feed.next() is not None
    with pytest.raises(SourceError, match="more slowly than frames arrive"):
        await feed.next()
    await feed.aclose()


async def test_after_stop_nothing_more_comes() -> None:
    source = StagedSource([picture() for _ in range(3)])
    feed = SourceFeed(source, newest_wins=True)
    waiting = asyncio.ensure_future(feed.next())
    await asyncio.sleep(0)
    feed.stop()
    assert await waiting is None
    assert not feed.exhausted
    source.given.release(9)
    await feed.aclose()


@pytest.mark.parametrize("taken", [1, 2])
async def test_after_stop_the_feed_knows_whether_every_frame_was_taken(taken: int) -> None:
    feed = SourceFeed(ArraySource([picture(), picture()]), newest_wins=False)
    for _ in range(taken):
        await feed.next()
    await feed._ended.wait()
    feed.stop()
    assert await feed.next() is None
    assert feed.exhausted == (taken == 2)
    await feed.aclose()


async def test_what_the_source_raises_comes_after_its_frames() -> None:
    def frames() -> Iterator[Any]:
        yield picture()
        raise ZeroDivisionError

    feed = SourceFeed(ArraySource(frames()), newest_wins=False)
    assert await feed.next() is not None
    with pytest.raises(ZeroDivisionError):
        await feed.next()
    await feed.aclose()


@pytest.mark.parametrize(
    "raised",
    [
        asyncio.CancelledError(),  # of a task of the source's own
        GeneratorExit(),
        SystemExit(3),
        KeyboardInterrupt(),
        StopAsyncIteration(),  # of an asynchronous camera, and the end of whoever takes results
    ],
)
async def test_what_is_no_error_ends_neither_the_task_nor_the_program(raised: BaseException) -> None:
    class Camera:
        def __iter__(self) -> Iterator[Any]:
            return self

        def __next__(self) -> Any:
            raise raised

    feed = SourceFeed(ArraySource(Camera(), name="camera"), newest_wins=False)
    async with asyncio.timeout(5):
        with pytest.raises(SourceError, match=rf"camera raised {type(raised).__name__}\(.*\); a source ends") as caught:
            await feed.next()
        await feed.aclose()
    assert caught.value.__cause__ is raised


@pytest.mark.parametrize(
    ("breaks_off", "error"),
    [
        (False, OSError),  # of closing
        (True, ZeroDivisionError),  # what came first
    ],
)
async def test_a_source_that_fails_to_close_ends_all_the_same(
    breaks_off: bool, error: type[Exception], caplog: pytest.LogCaptureFixture
) -> None:
    class Unplugged(ArraySource):
        def close(self) -> None:
            raise OSError("device already gone")

    def frames() -> Iterator[Any]:
        yield picture()
        if breaks_off:
            raise ZeroDivisionError

    feed = SourceFeed(Unplugged(frames()), newest_wins=False)
    async with asyncio.timeout(5):
        assert await feed.next() is not None
        with pytest.raises(error):
            await feed.next()
        await feed.aclose()
    assert not feed.exhausted
    assert "device already gone" in caplog.text


async def test_a_thread_that_does_not_return_is_left_behind_with_a_word(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("posewire._streaming.feed._CLOSING_S", 0.05)
    source = StagedSource([picture()])
    feed = SourceFeed(source, newest_wins=True)
    await feed.aclose()
    assert "does not return from reading" in caplog.text
    assert not source.closed
    source.given.release(9)
    await asyncio.to_thread(feed._thread.join)
    assert source.closed
