"""Which files of a folder stand for sequences."""

from __future__ import annotations

from pathlib import Path

__all__ = ["sequence_files"]


def sequence_files(folder: Path, pattern: str = "*.json") -> list[Path]:
    """The files below a folder that have a pattern's form, in the order of their names.

    Hidden ones are passed over, as by poseval: macOS leaves a `._NAME` beside files on disks of other systems.
    """
    return sorted(file for file in folder.glob(pattern) if not _is_hidden(file.relative_to(folder)))


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
