"""The main job of `track` and `demo`: frames to the server, results to the writers, the bar and the account."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from posewire import Client, FrameResult, ServerInfo, open_source
from posewire._client import TrackStream
from posewire.cli.account import Account
from posewire.cli.failures import CommandError, say
from posewire.cli.interrupts import Interrupts
from posewire.cli.private_server import ServerChoice
from posewire.cli.progress import bar, waiting
from posewire.errors import PosewireError
from posewire.writers import ResultWriter

__all__ = ["Outcome", "check_output", "check_source", "connected", "consume", "report"]


@dataclass
class Outcome:
    """How a stream ended.

    Attributes:
        account: of the frames.
        live: whether the frames came from a camera, so that some may be dropped.
        interrupted: whether somebody stopped it.
        failure: what broke it off, if something did.
    """

    account: Account = field(default_factory=Account)
    live: bool = False
    interrupted: bool = False
    failure: PosewireError | None = None

    @property
    def complete(self) -> bool:
        """Whether every frame was tracked; a camera's frames may be dropped, that is what they are for."""
        return not self.failure and self.account.failed == 0 and (self.live or self.account.dropped == 0)


def check_source(source: str) -> None:
    """Find out before a server is started that a file or folder cannot be read.

    Cameras and addresses are left alone: they would be opened twice.

    Raises:
        SourceError: it cannot.
    """
    if "://" not in source and not source.isdigit() and not source.startswith("/dev/"):
        open_source(source).close()


def check_output(path: Path | None) -> None:
    """Find out before any work that a file cannot be written, because its folder is not there.

    Raises:
        CommandError: it cannot.
    """
    if path is not None and not path.parent.is_dir():
        raise CommandError(f"{path} cannot be written: the folder {path.parent} does not exist; make it first")
    if path is not None and path.is_dir():
        raise CommandError(f"{path} cannot be written: it is a folder; name a file")


@contextlib.contextmanager
def connected(server: ServerChoice, *, quiet: bool) -> Iterator[tuple[Client, ServerInfo]]:
    """A client of the chosen server, and what the server says of itself."""
    with contextlib.ExitStack() as stack:
        with waiting("starting a private server" if server.address is None else "connecting", quiet=quiet):
            access = stack.enter_context(server.running())
            client = stack.enter_context(access.client())
            info = client.server_info()
        yield client, info


def consume(
    stream: TrackStream,
    writers: Sequence[ResultWriter],
    *,
    quiet: bool,
    each: Callable[[FrameResult], FrameResult] = lambda result: result,
) -> Outcome:
    """Take all results of an open stream, or those up to an interrupt or to what broke it off.

    It does not raise for that, because what came until then is worth its files.

    Args:
        stream: open.
        writers: get every result; the caller closes them.
        quiet: no bar.
        each: called with every result before it is written; gives what is written.
    """
    source = stream.source
    outcome = Outcome(live=source is not None and source.live)
    total = source.frame_count if source is not None else None
    with Interrupts() as interrupts, bar("tracking", total, quiet=quiet) as progress:
        results = interrupts.until_interrupted(stream)
        while (result := _next(results, outcome)) is not None:
            shown = each(result)
            for writer in writers:
                writer.write(shown)
            outcome.account.add(result)
            progress.account(outcome.account)
    outcome.interrupted = interrupts.happened
    return outcome


def _next(results: Iterator[FrameResult], outcome: Outcome) -> FrameResult | None:
    """The next result; None at the end, whose reason is noted."""
    try:
        return next(results, None)
    except PosewireError as error:
        outcome.failure = error
        return None


def report(outcome: Outcome, written: Sequence[Path], *, quiet: bool) -> None:
    """Tell the person at the terminal how it went: all of it, or when quiet only what went wrong."""
    if not quiet:
        say(("interrupted; " if outcome.interrupted else "") + outcome.account.summary())
        for path in written:
            say(f"wrote {path}")
    if outcome.failure:
        say(f"posewire: {outcome.failure}")
    missed = outcome.account.failed + (0 if outcome.live else outcome.account.dropped)
    if missed:
        say(f"posewire: {missed} of {outcome.account.frames} frames have no result:")
        for complaint in outcome.account.complaints():
            say(f"  {complaint}")
