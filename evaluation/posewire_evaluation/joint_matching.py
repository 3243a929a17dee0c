"""Matches predicted to true people in one frame by poseval's rules: `eval_helpers.assignGTmulti`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posewire.array_types import Float64s
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.sequences import Bools, Ints, PoseFrame, PoseSequence

__all__ = ["PCKH_THRESHOLD", "FrameMatch", "check_head_sizes", "match_frame"]

PCKH_THRESHOLD = 0.5
"""Largest distance of a correct joint from the true one, in head sizes."""


@dataclass(frozen=True, eq=False)
class FrameMatch:
    """One matched frame with `g` true and `p` predicted people.

    Attributes:
        distances: `(p, g, k)` between joints, in head sizes; infinite where either joint is missing.
        correct: `(p, k)` whether a joint is right, compared with the one true person that its pose is assigned to.
        truth: the true people.
        predicted: the predicted ones.
    """

    distances: Float64s
    correct: Bools
    truth: PoseFrame
    predicted: PoseFrame

    @property
    def one_sided(self) -> bool:
        """Whether the truth or the prediction has no people."""
        return not len(self.truth) or not len(self.predicted)


def check_head_sizes(truth: PoseSequence) -> None:
    """Check that every person of a labelled frame has a head size, the unit of all distances.

    Raises:
        EvaluationError: a person has none.
    """
    for frame in truth.frames:
        unknown = np.isnan(frame.head_sizes)
        if frame.labelled and unknown.any():
            raise EvaluationError(
                f"{truth.source}: frame {frame.number}: the person with id {frame.ids[unknown][0]} has no head box,"
                " which gives distances their scale"
            )


def match_frame(truth: PoseFrame, predicted: PoseFrame) -> FrameMatch:
    """Compute the distances of all joints and assign poses by PCKh.

    A predicted pose is assigned to the true person for whom it gets the largest share of the annotated joints right. If
    several poses are assigned to one person, the best is kept and all joints of the others are wrong. On ties the first
    wins.
    """
    distances = _distances(truth, predicted)
    within = distances <= PCKH_THRESHOLD
    correct = np.zeros(predicted.present.shape, np.bool_)
    if len(truth) and len(predicted):
        annotated = truth.present.sum(axis=1)
        shares = within.sum(axis=2) / np.maximum(annotated, 1)  # (p, g)
        rows = np.arange(len(predicted))
        best_person: Ints = shares.argmax(axis=1)
        wanted = np.zeros_like(shares)
        wanted[rows, best_person] = shares[rows, best_person]
        best_pose: Ints = wanted.argmax(axis=0)
        people = np.nonzero(wanted.max(axis=0) > 0)[0]
        correct[best_pose[people]] = within[best_pose[people], people]
    return FrameMatch(distances, correct, truth, predicted)


def _distances(truth: PoseFrame, predicted: PoseFrame) -> Float64s:
    offsets = predicted.positions[:, None] - truth.positions[None]  # (p, g, k, 2)
    squared = offsets[..., 0] * offsets[..., 0] + offsets[..., 1] * offsets[..., 1]
    both = predicted.present[:, None] & truth.present[None]
    # A head box of size 0, which occurs in real annotations, makes every distance infinite.
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.sqrt(squared) / truth.head_sizes[:, None]
    return np.where(both & ~np.isnan(distances), distances, np.inf)
