"""Watching files that may change while the program runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["FileChanges"]


class FileChanges:
    """Tells whether any of these files has changed since the last check."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        self._seen = self._look()
        self._is_unread = False
        self._why_unread = ""

    def happened(self) -> bool:
        """Whether a file has changed since the last call (or since construction), or a change is still unread."""
        before, self._seen = self._seen, self._look()
        if self._seen != before:
            self._is_unread, self._why_unread = False, ""
            return True
        is_unread, self._is_unread = self._is_unread, False
        return is_unread

    def unread(self, why: str) -> bool:
        """Note that a change could not be read, so that `happened` reports it again. Returns whether `why` is new."""
        is_new = why != self._why_unread
        self._is_unread, self._why_unread = True, why
        return is_new

    def _look(self) -> list[tuple[int, ...] | None]:
        return [_state(file) for file in self._files]


def _state(file: Path) -> tuple[int, ...] | None:
    """A value that changes whenever the file or its permissions change; None if it does not exist."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_ctime_ns, stat.st_size, stat.st_ino
