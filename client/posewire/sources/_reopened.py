"""A camera that is opened again when it stops."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator

from posewire.errors import SourceError
from posewire.sources._frames import Source, SourceFrame
from posewire.sources._packets import UnsendableError

__all__ = ["ReopenedSource"]

_log = logging.getLogger(__name__)

# A camera that reboots takes about a minute; meanwhile each attempt fails at once, or takes the source's timeout.
_FIRST_WAIT_S, _LONGEST_WAIT_S = 0.5, 5.0


class ReopenedSource:
    """The frames of a live source, which is opened again whenever it stops. They are numbered on.

    Created by `open_source`.

    Args:
        source: the live source, opened for the first time.
        reopen: opens it again; raises `SourceError` while that is impossible.
        reopen_for_s: how long to try; may be infinite.
        max_frames: stop after this many frames.

    Raises:
        SourceError: while iterating: it stopped and could not be opened again in time, or gives another codec now.
        MisuseError: while iterating: it was closed, or was iterated over before.
    """

    live = True
    frame_count = None

    def __init__(
        self, source: Source, reopen: Callable[[], Source], *, reopen_for_s: float, max_frames: int | None = None
    ):
        self._source = source
        self._reopen = reopen
        self._reopen_for_s = reopen_for_s
        self._max_frames = max_frames
        self._interrupted = threading.Event()
        self._wait_s = _FIRST_WAIT_S
        self.name = source.name
        self.fps = source.fps
        self.size = source.size
        self.codec = source.codec
        # Only for a driver that never returns: the source itself notices its silence, and may take as long to open for
        # connecting, for finding the video, and for its first picture.
        self.silence_s = None if source.silence_s is None else reopen_for_s + 4 * source.silence_s

    def __iter__(self) -> Iterator[SourceFrame]:
        number = 0
        while True:
            opened_s = time.monotonic()
            try:
                for frame in self._source:
                    frame.number = number
                    yield frame
                    number += 1
                    if number == self._max_frames:
                        return
                return
            except UnsendableError:  # it would be no different next time
                raise
            except SourceError as error:
                failure = error
            if self._interrupted.is_set():
                return
            self._source.close()
            if time.monotonic() - opened_s > _LONGEST_WAIT_S:  # one that stops soon after each opening waits for longer
                self._wait_s = _FIRST_WAIT_S
            again = self._opened_again(failure)
            if again is None:
                return
            self._source = again
            if self._interrupted.is_set():  # while it was opened, so `close` had only the one before
                again.close()
                return

    def interrupt(self) -> None:
        """End the iteration in another thread if it is waiting to open the source again."""
        self._interrupted.set()

    def close(self) -> None:
        """Release the device or connection."""
        self.interrupt()
        self._source.close()

    def _opened_again(self, failure: SourceError) -> Source | None:
        """The source, opened again after this failure; None if interrupted."""
        stopped_s = time.monotonic()
        until_s = stopped_s + self._reopen_for_s
        _log.warning("%s (trying to open it again)", failure)
        while not self._interrupted.wait(min(self._wait_s, max(0.0, until_s - time.monotonic()))):
            self._wait_s = min(2 * self._wait_s, _LONGEST_WAIT_S)
            try:
                source = self._reopen()
            except SourceError as error:
                away_s = time.monotonic() - stopped_s
                if away_s >= self._reopen_for_s:
                    raise SourceError(f"{failure} (it could not be opened again for {away_s:.0f} s: {error})") from None
                continue
            if source.codec != self.codec:
                source.close()
                raise SourceError(
                    f"{self.name} gives {source.codec or 'pictures'} now instead of {self.codec}; open it anew"
                )
            _log.warning("%s gives frames again, after %.1f s", self.name, time.monotonic() - stopped_s)
            return source
        return None
