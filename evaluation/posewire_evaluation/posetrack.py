"""The PoseTrack challenge's metrics with the semantics of its official toolkit, poseval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from posewire_evaluation.sequences import Floats, Ints, PoseSequence

__all__ = ["PerJoint", "PoseTrackScores", "score_posetrack"]


@dataclass(frozen=True, eq=False)
class PerJoint:
    """A metric of each joint, in percent.

    Attributes:
        names: of the joints, in the order of the joint set.
        values: `(k,)`; NaN where a joint has no value, because it is never annotated.
        total: the mean over the joints that have one.
    """

    names: tuple[str, ...]
    values: Floats
    total: float


@dataclass(frozen=True, eq=False)
class PoseTrackScores:
    """What poseval reports.

    Attributes:
        ap: average precision at PCKh 0.5; its total is the mAP.
        ap_precision: precision of all predictions, whatever their scores.
        ap_recall: recall of all predictions.
        mota: multiple object tracking accuracy.
        motp: its precision: 100 for joints right on the spot, 50 for joints at the threshold.
        precision: share of the predicted joints that are matched.
        recall: share of the annotated joints that are matched.
        misses: `(k,)` annotated joints without a match.
        false_positives: `(k,)` predicted joints without a match.
        switches: `(k,)` changes of identity.
        matches: `(k,)` joints with a match.
        objects: `(k,)` annotated joints.
        sequences: how many were scored.
        frames: how many labelled frames these have.
    """

    ap: PerJoint
    ap_precision: PerJoint
    ap_recall: PerJoint
    mota: PerJoint
    motp: PerJoint
    precision: PerJoint
    recall: PerJoint
    misses: Ints
    false_positives: Ints
    switches: Ints
    matches: Ints
    objects: Ints
    sequences: int
    frames: int


def score_posetrack(pairs: Iterable[tuple[PoseSequence, PoseSequence]]) -> PoseTrackScores:
    """Score predictions against the truth.

    Args:
        pairs: truth and prediction of each sequence, with the same frames and joint set.

    Raises:
        EvaluationError: the two of a pair have other frames or joints, a person of the truth has no head size, or there
            is nothing to score.
    """
    raise NotImplementedError
