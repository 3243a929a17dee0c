"""What files hold that may be replaced while a client is open."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from posewire.errors import InvalidSettings
from posewire.file_changes import FileChanges

__all__ = ["KeptFiles"]

Contents = TypeVar("Contents")

_log = logging.getLogger(__name__)


class KeptFiles(Generic[Contents]):
    """The contents of some files, which are read again when one of them has changed.

    Args:
        files: to watch; if one of them is a pipe, which can be read only once, none is.
        read: reads them; raises `InvalidSettings` if they cannot be used.
        ignored: for the log, when new contents cannot be used.
        read_again: for the log, when new contents have taken the place of the old ones.
    """

    def __init__(self, files: Sequence[Path], read: Callable[[], Contents], *, ignored: str, read_again: str) -> None:
        self._files = files
        self._read = read
        self._ignored = ignored
        self._read_again = read_again
        self._contents: Contents | None = None
        self._changes = FileChanges(())

    def current(self) -> Contents:
        """The contents: the same object until they change.

        Files that cannot be used, for example during a renewal, are ignored if there were usable ones before.

        Raises:
            InvalidSettings: of `read`.
        """
        if self._contents is None:
            # Not `Path.is_file`, which before Python 3.14 raises an error of its own for some files that `read` names.
            self._changes = FileChanges(self._files if all(map(os.path.isfile, self._files)) else ())
            self._contents = self._read()
        elif self._changes.happened():
            try:
                contents = self._read()
            except InvalidSettings as error:
                if self._changes.unread(str(error)):
                    # Not the error itself: a handler that keeps it would keep replaced channels open.
                    _log.warning("%s: %s", self._ignored, str(error))
            else:
                if contents != self._contents:
                    self._contents = contents
                    _log.info("%s", self._read_again)
        return self._contents
