"""Average precision as the Pascal VOC challenge defines it: the area under the monotone precision-recall curve."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from posewire.array_types import Float64s
from posewire_evaluation.sequences import Bools

__all__ = ["Precision", "average_precision"]


class Precision(NamedTuple):
    """Average precision, and precision and recall of all predictions, all in 0..1."""

    average: float
    precision: float
    recall: float


def average_precision(scores: Float64s, correct: Bools, annotated: int) -> Precision:
    """Average precision of one joint, as poseval computes it (`computeRPC`, `VOCap`).

    Two things are as there. Equal scores keep the order that numpy's sort gives them, so that predictions without
    scores have an AP that depends on their order. And a joint without predictions has an AP of 0 even where it is never
    annotated, while one that is predicted but never annotated has none.

    Args:
        scores: `(n,)` of the predicted joints.
        correct: `(n,)`.
        annotated: how many there are to be found.

    Returns:
        NaN as the average and the recall where there is none.
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
