"""Average precision as the Pascal VOC challenge defines it: the area under the monotone precision-recall curve."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posewire.array_types import Float64s
from posewire_evaluation.sequences import Bools

__all__ = ["Precision", "average_precision"]


class Precision(NamedTuple):
    """Average precision, and precision and recall over all predictions, all in 0..1."""

    average: float
    precision: float
    recall: float


def average_precision(scores: Float64s, correct: Bools, annotated: int) -> Precision:
    """Average precision of one joint, as poseval computes it (`computeRPC`, `VOCap`).

    Two of its behaviours are kept. Equal scores are ordered as numpy's sort leaves them, so the AP of predictions
    without scores depends on their order. And a joint that is never predicted has an AP of 0, even if it is never
    annotated, while a joint that is predicted but never annotated has no AP.

    Args:
        scores: `(n,)` of the predicted joints.
        correct: `(n,)` whether each is right.
        annotated: number of annotated joints.

    Returns:
        Average and recall are NaN if undefined.
    """
    if not len(scores):
        return Precision(0.0, 0.0, 0.0)
    found = np.cumsum(correct[np.argsort(scores)[::-1]])
    precisions = found / np.arange(1, len(found) + 1)
    if annotated == 0:
        return Precision(np.nan, float(precisions[-1]), np.nan)
    recalls = found / annotated
    envelope = np.maximum.accumulate(np.append(precisions, 0.0)[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], recalls, [1.0]]))
    rising = steps != 0
    return Precision(float(np.sum(steps[rising] * envelope[rising])), float(precisions[-1]), float(recalls[-1]))
