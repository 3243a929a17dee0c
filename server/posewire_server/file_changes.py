"""Files that may change while the server runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

__all__ = ["FileChanges"]


class FileChanges:
    """Tells whether any of some files has changed since the last look."""

    def __init__(self, files: Sequence[Path]) -> None:
        self._files = tuple(files)
        self._seen = self._look()

    def happened(self) -> bool:
        """Whether there was a change since this was asked last, or since the start."""
        before, self._seen = self._seen, self._look()
        return self._seen != before

    def _look(self) -> list[tuple[int, int, int] | None]:
        return [_state(file) for file in self._files]


def _state(file: Path) -> tuple[int, int, int] | None:
    """What differs when the file does; None while it is not there."""
    try:
        stat = file.stat()
    except OSError:
        return None
    return stat.st_mtime_ns, stat.st_size, stat.st_ino
