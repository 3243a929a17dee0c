"""`posewire token`: a new bearer token for a server."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from posewire.cli.failures import CommandError, UsageError, say
from posewire.cli.outputs import check_folder_of

__all__ = ["TokenJob", "run_token"]


@dataclass(frozen=True)
class TokenJob:
    """A token to create.

    Attributes:
        name: of its holder.
        streams: maximum number of open streams; 0: the server's limit.
        fps: maximum frames per second, over all streams; 0: unlimited.
        pixels: maximum size of a frame; 0: the server's limit.
        admin: whether it can list the streams of all tokens.
        append_to: token file of a server to append its line to; None: print the line.
    """

    name: str
    streams: int = 0
    fps: float = 0.0
    pixels: int = 0
    admin: bool = False
    append_to: Path | None = None


def run_token(job: TokenJob) -> None:
    """Print a new token, and append its line to the token file or print it too.

    Raises:
        CommandError: the token cannot be printed, and the message says whether its line is in the file; or the file's
            folder does not exist.
        UsageError: the name or a limit is invalid.
        OSError: the file cannot be written.
    """
    from posewire_server.admission.tokens import TokenGrant, append_line, new_token

    if sys.stdout is None:
        raise CommandError("standard output is closed, so the token could not be shown: none was created")
    try:
        token, line = new_token(TokenGrant(job.name, job.streams, job.fps, job.pixels, job.admin))
        if job.append_to is not None:
            check_folder_of(job.append_to)  # the file itself is created if it is missing
            append_line(job.append_to, line)
    except ValueError as error:
        raise UsageError(str(error)) from None
    # Only the token goes to standard output, so that `posewire token door > door.token` stores it.
    try:
        print(token, flush=True)
    except OSError as error:
        useless = "" if job.append_to is None else f": remove the line of {job.name!r} from {job.append_to}"
        raise CommandError(f"the token could not be printed ({error.strerror}), and is lost{useless}") from error
    say("This token is shown once, and not stored: give it to the client (--token-file, or POSEWIRE_TOKEN).")
    if job.append_to is not None:
        say(f"Its line was added to {job.append_to}; a running server reloads this file by itself.")
    else:
        say(f"Line for the server's token file (posewire serve --tokens FILE):\n{line}")
