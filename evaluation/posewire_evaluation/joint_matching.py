"""Who is compared with whom in one frame, by poseval's rules: `eval_helpers.assignGTmulti`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posewire.array_types import Float64s
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.sequences import Bools, Ints, PoseFrame, PoseSequence

__all__ = ["PCKH_THRESHOLD", "FrameMatch", "check_head_sizes", "match_frame"]

PCKH_THRESHOLD = 0.5
"""Head sizes that a joint may be away from the true one."""


@dataclass(frozen=True, eq=False)
class FrameMatch:
    """One frame with `g` true and `p` predicted people, ready to be counted.

    Attributes:
        distances: `(p, g, k)` between joints, in head sizes; infinite where one of the two is not there.
        correct: `(p, k)` whether a joint is right, judged by the one true person that its pose is assigned to.
        truth: the true people.
        predicted: the predicted ones.
    """

    distances: Float64s
    correct: Bools
    truth: PoseFrame
    predicted: PoseFrame

    @property
    def one_sided(self) -> bool:
        """Whether truth or prediction has nobody."""
        return not len(self.truth) or not len(self.predicted)


def check_head_sizes(truth: PoseSequence) -> None:
    """Distances are measured in head sizes.

    Raises:
        EvaluationError: a person of a labelled frame has none.
    """
    for frame in truth.frames:
        unknown = np.isnan(frame.head_sizes)
        if frame.labelled and unknown.any():
            raise EvaluationError(
                f"{truth.source}: frame {frame.number}: the person with id {frame.ids[unknown][0]} has no head box,"
                " which gives distances their scale"
            )


def match_frame(truth: PoseFrame, predicted: PoseFrame) -> FrameMatch:
    """Distances of all joints, and the assignment of poses by PCKh.

    A predicted pose goes to the true person of whose annotated joints it gets the largest share right; of several poses
    for one person the best one is taken, and the others are wrong in all their joints. The first of equals wins.
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
    offsets = predicted.joints[:, None, :, :2] - truth.joints[None, :, :, :2]  # (p, g, k, 2)
    squared = offsets[..., 0] * offsets[..., 0] + offsets[..., 1] * offsets[..., 1]
    both = predicted.present[:, None] & truth.present[None]
    # A head box without extent, as real annotations may have, makes every distance infinite.
    with np.errstate(divide="ignore", invalid="ignore"):
        distances = np.sqrt(squared) / truth.head_sizes[:, None]
    return np.where(both & ~np.isnan(distances), distances, np.inf)
