"""`posewire token`: a new bearer token for a server."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from posewire.cli.failures import CommandError, UsageError, say

__all__ = ["TokenJob", "run_token"]


@dataclass(frozen=True)
class TokenJob:
    """What the token is to be good for.

    Attributes:
        name: of whoever gets it.
        streams: open at the same time; 0: as many as the server takes.
        fps: frames a second, over all streams; 0: any number.
        pixels: of a frame; 0: as many as the server takes.
        admin: whether it shows everybody's streams.
        append_to: token file of the server that gets its line; None: print the line.
    """

    name: str
    streams: int = 0
    fps: float = 0.0
    pixels: int = 0
    admin: bool = False
    append_to: Path | None = None


def run_token(job: TokenJob) -> None:
    """Print a new token, and put its line into the file or print it too.

    Raises:
        CommandError: the token cannot be printed; the message says whether its line is in the file.
        UsageError: the name or a limit cannot be used.
        OSError: the file cannot be written.
    """
    from posewire_server.admission.tokens import TokenGrant, append_line, new_token

    if sys.stdout is None:
        raise CommandError("standard output is closed, so the token could not be shown: there is none")
    try:
        token, line = new_token(TokenGrant(job.name, job.streams, job.fps, job.pixels, job.admin))
        if job.append_to is not None:
            append_line(job.append_to, line)
    except ValueError as error:
        raise UsageError(str(error)) from None
    # The token alone goes to standard output, so that `posewire token door > door.token` keeps it.
    try:
        print(token, flush=True)
    except OSError as error:
        useless = "" if job.append_to is None else f": take the line of {job.name!r} out of {job.append_to} again"
        raise CommandError(f"the token could not be printed ({error.strerror}), and is lost{useless}") from error
    say("This token is shown once, and kept nowhere: give it to the client (--token-file, or POSEWIRE_TOKEN).")
    if job.append_to is not None:
        say(f"Its line was added to {job.append_to}; a running server takes it from there by itself.")
    else:
        say(f"Line for the server's token file (posewire serve --tokens FILE):\n{line}")
