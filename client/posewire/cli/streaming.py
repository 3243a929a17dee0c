"""Shared by `track` and `demo`: sends frames to the server, and results to the writers, the bar and the account."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from posewire import Client, FrameResult, ServerInfo, open_source
from posewire._client import TrackStream
from posewire.cli.account import Account
from posewire.cli.failures import ExitStatus, say
from posewire.cli.interrupts import Interrupts
from posewire.cli.outputs import is_special
from posewire.cli.private_server import ServerChoice
from posewire.cli.progress import bar, waiting
from posewire.cli.quantities import quantity
from posewire.errors import PosewireError
from posewire.sources import Source
from posewire.sources._open import is_camera_number
from posewire.writers import ResultWriter

__all__ = [
    "Outcome",
    "check_source",
    "connected",
    "consume",
    "report",
]

# Frame times have rounding errors.
_ROUNDING_S = 1e-6


@dataclass
class Outcome:
    """How a stream ended.

    Attributes:
        account: of the frames.
        pictures: number of results with a picture, which are in the video.
        live: whether the frames came from a camera, so that some may be dropped.
        interrupted: whether it was interrupted.
        failure: the error that ended it, if any.
    """

    account: Account = field(default_factory=Account)
    pictures: int = 0
    live: bool = False
    interrupted: bool = False
    failure: PosewireError | None = None

    @property
    def status(self) -> int:
        """The exit status of the program: 0 only if every frame was tracked. Interrupting a camera is not an error."""
        if self.interrupted and not self.live:
            return ExitStatus.INTERRUPTED
        return 0 if self.complete else ExitStatus.INCOMPLETE

    @property
    def complete(self) -> bool:
        """Whether every frame was tracked; frames of a camera may also be dropped."""
        return not self.failure and self.account.failed == 0 and (self.live or self.account.dropped == 0)


def check_source(source: str) -> None:
    """Check before a server is started that a file or folder can be read.

    Cameras, addresses and pipes are not checked, since this would open them twice.

    Raises:
        SourceError: it cannot be read.
    """
    if _can_be_opened_twice(source):
        open_source(source).close()


def _can_be_opened_twice(source: str) -> bool:
    """Whether a source is a file or folder, which yields the same frames each time."""
    return not ("://" in source or is_camera_number(source) or source.startswith("/dev/") or is_special(source))


@contextlib.contextmanager
def connected(server: ServerChoice, *, quiet: bool) -> Iterator[tuple[Client, ServerInfo]]:
    """A client of the chosen server, and the server's description."""
    with server.running(quiet=quiet) as access, access.client() as client:
        with waiting("connecting", quiet=quiet):
            info = client.server_info()
        yield client, info


def consume(
    stream: TrackStream,
    writers: Sequence[ResultWriter],
    interrupts: Interrupts,
    *,
    quiet: bool,
    seconds: float | None = None,
    each: Callable[[FrameResult], FrameResult] = lambda result: result,
) -> Outcome:
    """Take all results of an open stream, up to an interrupt or an error.

    The error is not raised but part of the outcome, so that the results until then are written.

    Args:
        stream: open.
        writers: get every result; the caller closes them.
        interrupts: active until the writers are closed.
        quiet: show no bar.
        seconds: maximum length of the source, by the times of its frames.
        each: called with every result before it is written; returns what is written.
    """
    source = stream.source
    outcome = Outcome(live=source is not None and source.live)
    with bar("tracking", _expected_frames(source, seconds), quiet=quiet) as progress:
        results = interrupts.until_interrupted(stream if seconds is None else _beginning(stream, seconds))
        while (result := _next(results, outcome)) is not None:
            shown = each(result)
            for writer in writers:
                writer.write(shown)
            outcome.account.add(result)
            outcome.pictures += shown.image is not None
            progress.account(outcome.account)
    outcome.interrupted = interrupts.happened
    return outcome


def _expected_frames(source: Source | None, seconds: float | None) -> int | None:
    if source is None or source.frame_count is None or seconds is None:
        return source.frame_count if source is not None else None
    return round(min(source.frame_count, seconds * source.fps)) if source.fps is not None else None


def _beginning(results: Iterable[FrameResult], seconds: float) -> Iterator[FrameResult]:
    """The results of the first `seconds`."""
    start_s = None
    for result in results:
        start_s = result.time_s if start_s is None else start_s
        if result.time_s - start_s > seconds - _ROUNDING_S:
            return
        yield result


def _next(results: Iterator[FrameResult], outcome: Outcome) -> FrameResult | None:
    """The next result; None at the end, or after an error, which is stored in `outcome`."""
    try:
        return next(results, None)
    except PosewireError as error:
        outcome.failure = error
        return None


def report(outcome: Outcome, *, results: Path | None = None, video: Path | None = None, quiet: bool) -> None:
    """Print how the stream ended; if quiet, only what went wrong.

    Args:
        outcome: of the stream.
        results: the result file.
        video: the annotated video, which is written only if there were pictures.
        quiet: print only what went wrong.
    """
    if not quiet:
        say(("interrupted; " if outcome.interrupted else "") + outcome.account.summary())
        for path in (results, video if outcome.pictures else None):
            if path is not None:
                say(f"wrote {path}")
    if video is not None and not outcome.pictures:
        say(f"posewire: no frame had a picture, so there is no video: {video} was not written")
    if outcome.failure:
        say(f"posewire: {outcome.failure}")
    missed = outcome.account.failed + (0 if outcome.live else outcome.account.dropped)
    if missed:
        say(f"posewire: {missed} of {quantity(outcome.account.frames, 'frame')} without a result:")
        for complaint in outcome.account.complaints():
            say(f"  {complaint}")
