"""Finds the files of sequences in a folder."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePath

from posewire_evaluation.errors import EvaluationError

__all__ = [
    "check_folders",
    "in_any_case",
    "listed",
    "notes_on_unscored",
    "paired_files",
    "sequence_files",
    "truth_files",
    "would_be_found",
]


def sequence_files(folder: Path, pattern: str = "*.json") -> list[Path]:
    """The files below a folder that match a pattern, in small letters or capitals, sorted by name.

    Hidden files are skipped, as in poseval: macOS creates `._NAME` beside files on disks of other systems.
    """
    return sorted(file for file in folder.glob(in_any_case(pattern)) if not _is_hidden(file.relative_to(folder)))


def would_be_found(file: Path, folder: Path, pattern: str) -> bool:
    """Whether the pattern finds a file of this name in the folder, if it exists."""
    below = PurePath(os.path.relpath(file.parent.resolve(), folder.resolve()), file.name)
    return len(below.parts) == len(PurePath(pattern).parts) and below.match(in_any_case(pattern))


def check_folders(*folders: Path) -> None:
    """Raise `EvaluationError` if one of these is not a folder."""
    for folder in folders:
        if not folder.is_dir():
            raise EvaluationError(f"{folder} is not a folder; give one with what belongs to each sequence")


def truth_files(folder: Path) -> list[Path]:
    """The JSON files of a folder of ground truth, sorted by name; raises `EvaluationError` if there are none."""
    files = sequence_files(folder)
    if not files:
        raise EvaluationError(f"{folder} holds no *.json; give the folder of the truth")
    return files


def paired_files(truth: Mapping[str, Path], predictions: Path) -> list[tuple[Path, Path]]:
    """Pairs of ground truth and prediction files.

    Args:
        truth: files of the truth, keyed by the names that their predictions must have.
        predictions: folder of the predictions.

    Raises:
        EvaluationError: a file of the truth has no prediction.
    """
    missing = [name for name in truth if not (predictions / name).is_file()]
    if missing:
        there = sequence_files(predictions, f"*{Path(missing[0]).suffix}")
        others = [file.name for file in there if file.name not in truth]
        hint = f"; it has {listed(others)} without a truth" if others else ""
        raise EvaluationError(
            f"{predictions} has no prediction for {listed(missing)}{hint}; each sequence of the truth needs one of the"
            " same name, also if nobody was found"
        )
    return [(file, predictions / name) for name, file in truth.items()]


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first `most` names, and how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def notes_on_unscored(predictions: Path, scored: Iterable[Path], pattern: str = "*.json") -> list[str]:
    """A note on predictions without ground truth. That is not an error: a part of a data set may be scored.

    Args:
        predictions: their folder; if it is not a folder, there are no notes.
        scored: the predictions that have a truth.
        pattern: of their names.
    """
    if not predictions.is_dir():
        return []
    known = {file.name for file in scored}
    others = [file.name for file in sequence_files(predictions, pattern) if file.name not in known]
    more = f", nor have {len(others) - 1} more" if len(others) > 1 else ""
    return [f"{predictions / others[0]} has no truth{more}, so it is not scored"] if others else []


def in_any_case(pattern: str) -> str:
    """The pattern with each letter in both cases."""
    return "".join(f"[{letter}{letter.upper()}]" if letter.isalpha() else letter for letter in pattern.lower())


def _is_hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
