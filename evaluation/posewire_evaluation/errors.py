"""What can go wrong in an evaluation."""

from __future__ import annotations

from posewire.errors import PosewireError

__all__ = ["EvaluationError"]


class EvaluationError(PosewireError, ValueError):
    """Truth or predictions cannot be scored: a file is faulty, or the two do not go together.

    The message names file and frame. Nothing is scored then: a wrong number is worse than none.
    """
