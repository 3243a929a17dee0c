"""Errors of the evaluation."""

from __future__ import annotations

from posewire.errors import PosewireError

__all__ = ["EvaluationError"]


class EvaluationError(PosewireError, ValueError):
    """Ground truth or predictions cannot be scored: a file is faulty, or the two do not match.

    The message names file and frame. Nothing is scored, since a wrong number is worse than none.
    """
