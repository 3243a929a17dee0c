"""HOTA and IDF1 of poses, computed by TrackEval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from posewire_evaluation.sequences import PoseSequence

__all__ = ["IdentityScores", "score_identities"]


@dataclass(frozen=True)
class IdentityScores:
    """In percent. `hota`, `det_a`, `ass_a` and `loc_a` are means over TrackEval's 19 thresholds of similarity.

    Attributes:
        hota: higher order tracking accuracy.
        det_a: its part for detection.
        ass_a: its part for association.
        loc_a: mean similarity of the matches.
        idf1: F1 score of identities, at similarity 0.5.
        idp: its precision.
        idr: its recall.
    """

    hota: float
    det_a: float
    ass_a: float
    loc_a: float
    idf1: float
    idp: float
    idr: float


def score_identities(pairs: Iterable[tuple[PoseSequence, PoseSequence]]) -> IdentityScores:
    """Score identities; the similarity of two poses is their OKS.

    Args:
        pairs: truth and prediction of each sequence, with the same frames and joint set.

    Raises:
        EvaluationError: as of `score_posetrack`, or TrackEval is not installed.
    """
    raise NotImplementedError
