"""Which files of a folder stand for sequences."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

__all__ = ["sequence_files", "unscored"]


def sequence_files(folder: Path, pattern: str = "*.json") -> list[Path]:
    """The files below a folder that have a pattern's form, in the order of their names.

    Hidden ones are passed over, as by poseval: macOS leaves a `._NAME` beside files on disks of other systems.
    """
    return sorted(file for file in folder.glob(pattern) if not _is_hidden(file.relative_to(folder)))


def unscored(predictions: Path, scored: Iterable[Path], pattern: str = "*.json") -> list[str]:
    """A note on predictions without truth: no fault, a part of a data set may be scored, but nobody should wonder.

    Args:
        predictions: their folder; where it is none, there is nothing to be noted.
        scored: those that have a truth.
        pattern: of their names.
    """
    if not predictions.is_dir():
        return []
    known = {file.name for file in scored}
    others = [file.name for file in sequence_files(predictions, pattern) if file.name not in known]
    more = f", nor have {len(others) - 1} more" if len(others) > 1 else ""
    return [f"{predictions / others[0]} has no truth{more}, so it is not scored"] if others else []


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
