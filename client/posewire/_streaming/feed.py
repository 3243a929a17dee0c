"""Reads a source in its own thread, so that reading, encoding, sending and receiving overlap."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
from collections import deque
from typing import NamedTuple

from posewire._threads.own_thread import OwnThread
from posewire.errors import SourceError
from posewire.sources import ArraySource, Source, SourceFrame
from posewire.sources._reopened import ReopenedSource

__all__ = ["FeedItem", "SourceFeed"]

_log = logging.getLogger(__name__)

# How many frames of a file are read ahead.
_READ_AHEAD = 2
# How many packets of a live source may wait; beyond that, all are dropped up to the next keyframe.
_PACKETS_WAITING = 128
# If the oldest of them is older than a new keyframe by more than this, they are dropped in favour of it.
_LONGEST_BACKLOG_S = 1.0
# How many frames of a live source, dropped ones included, may wait: minutes of video. Beyond that, nobody reads them.
_MOST_WAITING = 20_000
_CLOSING_S = 2.0


class FeedItem(NamedTuple):
    """A frame, in order; `superseded`: a newer one arrived before this one could be sent."""

    frame: SourceFrame
    superseded: bool


class SourceFeed:
    """Reads a source in a thread and hands its frames to the event loop.

    Files wait until their frames are taken. Live sources do not: the newest picture replaces the one that is waiting,
    which is handed over as superseded, without its pixels. Packets depend on earlier ones, so if too many wait, all of
    them up to the next keyframe are superseded.

    Args:
        source: owned by the feed from now on, which closes it.
        newest_wins: drop older frames instead of making the source wait.

    Attributes:
        exhausted: whether every frame of the source was taken.
    """

    def __init__(self, source: Source, *, newest_wins: bool):
        self._source = source
        self._newest_wins = newest_wins
        self._waiting: deque[FeedItem] = deque()
        self._fresh = 0  # how many of these are not superseded
        self._until_keyframe = False
        self._closed = False
        self._stopped = False
        self.exhausted = False
        self._failure: Exception | None = None
        self._lock = threading.Condition()
        self._loop = asyncio.get_running_loop()
        self._arrived = asyncio.Event()
        self._ended = asyncio.Event()
        self._thread = OwnThread(self._read, "posewire-source", end=self.close)
        self._thread.start()

    async def next(self) -> FeedItem | None:
        """The next frame; None after the last, or after `stop`.

        Raises:
            SourceError: the source failed, a live one went silent, or an iterable raised something that is not an
                error, such as `SystemExit`.
            Exception: the error that an iterable given by the program raised.
        """
        while not self._stopped:
            with self._lock:
                if self._waiting:
                    item = self._waiting.popleft()
                    self._fresh -= not item.superseded
                    self._lock.notify()
                    return item
                if self._ended.is_set():
                    break
                self._arrived.clear()
            try:
                async with asyncio.timeout(self._source.silence_s):
                    await self._arrived.wait()
            except TimeoutError:
                raise SourceError(
                    f"{self._source.name} has given nothing for {self._source.silence_s:g} s;"
                    " is the camera still connected?"
                ) from None
        if self._stopped:
            self.exhausted = self._ended.is_set() and not self._waiting and self._failure is None
            return None
        if self._failure is not None:
            raise self._failure
        self.exhausted = True
        return None

    def stop(self) -> None:
        """Return no more frames. Must be called in the event loop."""
        self._stopped = True
        self._arrived.set()

    def close(self) -> None:
        """Stop reading and release the source, without waiting for it."""
        with self._lock:
            self._closed = True
            self._waiting.clear()
            self._lock.notify()
        if isinstance(self._source, ArraySource | ReopenedSource):
            self._source.interrupt()

    async def aclose(self) -> None:
        """Stop reading and release the source."""
        self.close()
        try:
            async with asyncio.timeout(_CLOSING_S):
                await self._ended.wait()
        except TimeoutError:
            # Blocked in a driver or in the program's iterable; the daemon thread closes the source when that returns.
            _log.warning("%s does not return from reading; its thread is left behind", self._source.name)
        else:
            self._thread.join()

    def _read(self) -> None:
        """Runs in the thread."""
        try:
            for frame in self._source:
                if not self._put(frame):
                    break
        except BaseException as error:  # noqa: BLE001 -- raised again by `next`
            self._failure = self._as_error(error)
        finally:
            self._close_source()
            self._notify(self._ended, self._arrived)

    def _close_source(self) -> None:
        try:
            self._source.close()
        except BaseException as error:  # noqa: BLE001 -- raised by the program's code; as above
            self._failure = self._failure or self._as_error(error)
            _log.warning("%s could not be closed", self._source.name, exc_info=error)

    def _as_error(self, error: BaseException) -> Exception:
        """Wrap `SystemExit`, `CancelledError` and the like: they would end the task or program that takes frames."""
        if isinstance(error, Exception) and not isinstance(error, StopIteration | StopAsyncIteration):
            return error
        failure = SourceError(
            f"{self._source.name} raised {error!r}; a source ends by returning, or with an error to be raised here"
        )
        failure.__cause__ = error
        return failure

    def _put(self, frame: SourceFrame) -> bool:
        """Hand over a frame; False once the feed is closed."""
        with self._lock:
            if self._newest_wins:
                self._make_room(frame)
            else:
                self._lock.wait_for(lambda: self._closed or self._fresh < _READ_AHEAD)
            if self._closed:
                return False
            superseded = self._until_keyframe and frame.packet is not None
            self._waiting.append(FeedItem(_without_pixels(frame) if superseded else frame, superseded))
            self._fresh += not superseded
        self._notify(self._arrived)
        return True

    def _make_room(self, newcomer: SourceFrame) -> None:
        """Drop older frames of a live source in favour of the new one."""
        if len(self._waiting) >= _MOST_WAITING:
            raise SourceError(
                f"{len(self._waiting)} frames of {self._source.name} wait: results are taken more slowly than frames"
                " arrive, or not at all; iterate over the stream, and skip dropped frames without delay"
            )
        if newcomer.problem:
            return  # it does not replace older frames, and later packets depend on those that wait
        if newcomer.packet is not None:
            if self._until_keyframe and newcomer.keyframe:
                self._until_keyframe = False
            overflow = self._fresh >= _PACKETS_WAITING
            self._until_keyframe = self._until_keyframe or (overflow and not newcomer.keyframe)
            if not overflow and not (newcomer.keyframe and self._is_behind(newcomer)):
                return
        tail: list[FeedItem] = []
        while self._waiting and not self._waiting[-1].superseded:
            tail.append(self._waiting.pop())
        for item in reversed(tail):
            # Frames that could not be read are reported as such, not as superseded.
            keep = bool(item.frame.problem)
            self._waiting.append(item if keep else FeedItem(_without_pixels(item.frame), superseded=True))
            self._fresh -= not keep

    def _is_behind(self, newcomer: SourceFrame) -> bool:
        oldest = next((item.frame for item in self._waiting if not item.superseded), newcomer)
        return newcomer.time_s - oldest.time_s > _LONGEST_BACKLOG_S

    def _notify(self, *events: asyncio.Event) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is waiting
            for event in events:
                self._loop.call_soon_threadsafe(event.set)


def _without_pixels(frame: SourceFrame) -> SourceFrame:
    return SourceFrame(frame.number, frame.time_s, name=frame.name)
