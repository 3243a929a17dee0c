"""PoseTrack JSON of 2017 and 2018, truth and predictions, as sequences."""

from __future__ import annotations

from pathlib import Path

from posewire_evaluation.sequences import PoseSequence

__all__ = ["read_posetrack"]


def read_posetrack(path: Path) -> PoseSequence:
    """One sequence from a PoseTrack file of either year, with 15 joints.

    Args:
        path: JSON of 2018 (`images`, `annotations`, `categories`) or of 2017 (`annolist`).

    Raises:
        EvaluationError: the file cannot be read, is of neither form, or holds something that cannot be scored; the
            message names file and frame.
    """
    raise NotImplementedError(path)
