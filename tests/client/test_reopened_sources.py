from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from posewire import InvalidSettings, MisuseError, Source, SourceError, SourceFrame, open_source
from posewire._streaming.feed import SourceFeed
from posewire.sources import ArraySource, _reopened
from posewire.sources._reopened import ReopenedSource
from tests.client.tcp_camera import hung_up_camera

FRAMES = 6


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reopened, "_FIRST_WAIT_S", 0.01)


@pytest.fixture
def video(make_video: Callable[..., Path], tmp_path: Path) -> bytes:
    return make_video(tmp_path / "a.ts", frames=FRAMES, options={"bf": "0"}).read_bytes()


@pytest.mark.parametrize("codec", ["jpeg", "h264", "passthrough"])
def test_the_frames_go_on_when_a_camera_is_back(codec: Any, video: bytes, caplog: pytest.LogCaptureFixture) -> None:
    damaged = video[:200]  # as of a camera that is still starting
    with hung_up_camera(video, damaged, video, video) as address:
        source = open_source(address, codec=codec, reopen_for_s=60, max_frames=2 * FRAMES + 2)
        with contextlib.closing(source):
            frames = list(source)
    assert (source.live, source.size, source.codec) == (True, (64, 48), None if codec == "jpeg" else "h264")
    assert [frame.number for frame in frames] == list(range(2 * FRAMES + 2))
    assert all(frame.image is not None or frame.packet for frame in frames)
    times_s = [frame.time_s for frame in frames]
    assert times_s == sorted(times_s)
    assert [record.levelno for record in caplog.records] == 4 * [logging.WARNING]
    said = caplog.text
    assert said.count(f"{address} stopped after {FRAMES} frames; is the camera still connected? (trying to") == 2
    assert said.count(f"{address} gives frames again, after 0.") == 2


def test_a_camera_that_stays_away_is_given_up(video: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_reopened, "_FIRST_WAIT_S", 5.0)  # the last attempt is at the end of the time
    with hung_up_camera(video) as address:
        source = open_source(address, reopen_for_s=0.1)
        frames = iter(source)
        for _ in range(FRAMES):
            next(frames)
        with pytest.raises(SourceError, match=r"stopped after 6 .* \(it could not be .* for [0-4] s: .* refused"):
            next(frames)


def test_a_camera_that_stops_again_and_again_is_opened_less_and_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    waits_s: list[float] = []
    closed: list[Source] = []

    class Flapping(ArraySource):
        def __iter__(self) -> Iterator[SourceFrame]:
            nonlocal now_s
            yield SourceFrame(0, now_s, image=np.zeros((48, 64, 3), np.uint8))
            now_s += 6.0 if len(waits_s) == 3 else 1.0
            raise SourceError("it stopped")

        def close(self) -> None:
            closed.append(self)

    def wait(seconds: float) -> bool:
        waits_s.append(seconds)
        return False

    monkeypatch.setattr(_reopened, "time", SimpleNamespace(monotonic=lambda: now_s))
    source = ReopenedSource(Flapping([]), lambda: Flapping([]), reopen_for_s=60, max_frames=6)
    monkeypatch.setattr(source, "_interrupted", SimpleNamespace(wait=wait, is_set=lambda: False))
    assert [frame.number for frame in source] == list(range(6))
    assert waits_s == [0.01, 0.02, 0.04, 0.01, 0.02]  # after six seconds of frames as if for the first time
    assert len(set(map(id, closed))) == 5  # each before the next is opened, since a device can be open only once


@pytest.mark.parametrize("codec", ["passthrough", "h264"])
def test_a_camera_that_gives_another_codec(
    codec: Any, video: bytes, make_video: Callable[..., Path], tmp_path: Path
) -> None:
    other = make_video(tmp_path / "b.ts", frames=FRAMES, codec="mpeg2video", fps=25).read_bytes()
    with hung_up_camera(video, other) as address:
        source = open_source(address, codec=codec, reopen_for_s=0.1)
        with pytest.raises(SourceError, match="gives pictures now instead of h264; open it anew"):
            list(source)


async def test_a_stream_ends_while_its_camera_is_away(
    video: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_reopened, "_FIRST_WAIT_S", 600.0)
    with hung_up_camera(video) as address:
        feed = SourceFeed(open_source(address, reopen_for_s=float("inf")), newest_wins=True)
        async with asyncio.timeout(10):
            for _ in range(FRAMES):
                assert await feed.next() is not None
            while "trying to open it again" not in caplog.text:  # noqa: ASYNC110 -- a log has no event
                await asyncio.sleep(0.01)
            await feed.aclose()
    assert "does not return from reading" not in caplog.text


def test_it_is_closed_while_it_is_opened_again(video: bytes) -> None:
    with hung_up_camera(video, video) as address:
        opened: list[Source] = []

        def reopen() -> Source:
            opened.append(open_source(address))
            source.close()  # as by another thread
            return opened[0]

        source = ReopenedSource(open_source(address), reopen, reopen_for_s=60)
        assert len(list(source)) == FRAMES
        with pytest.raises(MisuseError, match="is closed"):
            list(opened[0])


def test_it_is_read_once_and_open(video: bytes) -> None:
    with hung_up_camera(video, video) as address:
        source = open_source(address, reopen_for_s=60, max_frames=2)
        assert len(list(source)) == 2
        with pytest.raises(MisuseError, match="was read already"):
            list(source)
        closed = open_source(address, reopen_for_s=60, timeout_s=5)
        assert closed.silence_s == 80  # beyond this, only a driver can be at fault that never returns
        closed.close()
        with pytest.raises(MisuseError, match="is closed"):
            list(closed)


def test_what_is_not_live_is_not_opened_again(video: bytes, tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match=r"a\.ts is not live, so it is never opened again"):
        open_source(tmp_path / "a.ts", reopen_for_s=60)
    with pytest.raises(InvalidSettings, match="reopen_for_s has no effect on frames from the program"):
        open_source([np.zeros((48, 64, 3), np.uint8)], reopen_for_s=60)
    with pytest.raises(InvalidSettings, match="options has no effect on frames from the program"):
        open_source([np.zeros((48, 64, 3), np.uint8)], options={"framerate": "5"})
    for wrong in (-1, float("nan"), "60"):
        with pytest.raises(InvalidSettings, match="a number from 0 on"):
            open_source(tmp_path / "a.ts", reopen_for_s=wrong)  # type: ignore[arg-type]
