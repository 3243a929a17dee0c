"""The access token of a client, which a file may hold that is replaced while the client is open."""

from __future__ import annotations

import logging
import re
from pathlib import Path

from posewire.errors import InvalidSettings
from posewire.file_changes import FileChanges
from posewire.os_errors import reason_of
from posewire.small_files import read_small_text

__all__ = ["AccessToken", "check_token", "read_token"]

_log = logging.getLogger(__name__)

_TOKEN = re.compile(r"[\x21-\x7e]+")


class AccessToken:
    """The token, or the file that holds it.

    Args:
        given: the token; a path: the file.
    """

    def __init__(self, given: str | Path) -> None:
        self._file = None if isinstance(given, str) else Path(given)
        self._token = given if isinstance(given, str) else ""
        self._changes = FileChanges(())

    def current(self) -> str:
        """The token, empty if there is none. A file is read again when it has changed.

        A file that cannot be used, for example during a renewal, is ignored if there was a usable one before.

        Raises:
            InvalidSettings: the file cannot be read, or holds no token.
        """
        if self._file is None:
            return self._token
        if not self._token:
            # A pipe can be read only once.
            self._changes = FileChanges([self._file] if self._file.is_file() else ())
            self._token = read_token(self._file)
        elif self._changes.happened():
            try:
                token = read_token(self._file)
            except InvalidSettings as error:
                if self._changes.unread(str(error)):
                    _log.warning("the new token is ignored, the old one stays in use: %s", error)
            else:
                if token != self._token:
                    self._token = token
                    _log.info("the token was read again")
        return self._token


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
