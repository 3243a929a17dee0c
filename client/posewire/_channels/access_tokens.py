"""The access token of a client, which a file may hold that is replaced while the client is open."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from posewire._channels.kept_files import KeptFiles
from posewire.errors import InvalidSettings
from posewire.os_errors import reason_of
from posewire.small_files import read_small_text

__all__ = ["AccessToken", "check_token", "read_token"]

_TOKEN = re.compile(r"[\x21-\x7e]+")


class AccessToken:
    """The token, or the file that holds it.

    Args:
        given: the token; a path: the file.
    """

    def __init__(self, given: str | Path) -> None:
        self._token = given if isinstance(given, str) else ""
        self._kept: KeptFiles[str] | None = None
        if not isinstance(given, str):
            file = Path(given)
            self._kept = KeptFiles(
                [file],
                partial(read_token, file),
                ignored="the new token is ignored, the old one stays in use",
                read_again="the token was read again",
            )

    def current(self) -> str:
        """The token, empty if there is none. A file is read again when it has changed; see `KeptFiles`.

        Raises:
            InvalidSettings: the file cannot be read, or holds no token.
        """
        return self._token if self._kept is None else self._kept.current()


def read_token(file: Path) -> str:
    """The token in a file.

    Raises:
        InvalidSettings: the file cannot be read, or holds no token.
    """
    try:
        token = read_small_text(file).strip()
    except (OSError, ValueError) as error:
        raise InvalidSettings(f"the token file {file} cannot be read: {reason_of(error)}") from error
    if not token:
        raise InvalidSettings(f"the token file {file} is empty; it holds the token as `posewire token` printed it")
    check_token(token, f"the token in {file}")
    return token


def check_token(token: str, name: str = "the token") -> None:
    """Raise `InvalidSettings` if it cannot be sent."""
    if not _TOKEN.fullmatch(token):
        raise InvalidSettings(f"{name} has blanks or characters beyond ASCII; give it as the server made it")
