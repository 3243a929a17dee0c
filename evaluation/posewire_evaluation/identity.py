"""HOTA and IDF1 of poses, computed by TrackEval."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.frame_pairs import scored_frames
from posewire_evaluation.pose_similarity import object_keypoint_similarity
from posewire_evaluation.sequences import Ints, PoseSequence

__all__ = ["IdentityScores", "IdentityTally", "combine_identities", "score_identities", "tally_identities"]

SIMILARITY_THRESHOLD = 0.5
"""From which on a pose is that of a person, for IDF1; HOTA averages over thresholds from 0.05 to 0.95."""


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


@dataclass(frozen=True, eq=False)
class IdentityTally:
    """What one sequence adds: TrackEval's results for it."""

    hota: dict[str, Any]
    identity: dict[str, Any]


def score_identities(pairs: Iterable[tuple[PoseSequence, PoseSequence]]) -> IdentityScores:
    """Score identities; the similarity of two poses is their OKS.

    The frames are those that MOTA is counted on, and the last one of each sequence too, which poseval leaves out.

    Args:
        pairs: truth and prediction of each sequence, with the same frames and joint set.

    Raises:
        EvaluationError: the two of a pair have other frames or joints, there is nothing to score, or TrackEval is not
            installed.
    """
    return combine_identities([tally_identities(truth, predicted) for truth, predicted in pairs])


def tally_identities(truth: PoseSequence, predicted: PoseSequence) -> IdentityTally:
    """Count one sequence.

    Raises:
        EvaluationError: as of `score_identities`.
    """
    hota, identity = _metrics()
    true_ids, predicted_ids, similarities = [], [], []
    for true, guess in scored_frames(truth, predicted):
        # A person without any joint has no pose that could be compared.
        posed, guessed = true.with_poses(), guess.with_poses()
        true_ids.append(posed.ids)
        predicted_ids.append(guessed.ids)
        similarities.append(object_keypoint_similarity(posed, guessed, truth.joint_set))
    true_places, true_count = _dense(true_ids)
    predicted_places, predicted_count = _dense(predicted_ids)
    data = {
        "num_gt_dets": sum(map(len, true_ids)),
        "num_tracker_dets": sum(map(len, predicted_ids)),
        "num_gt_ids": true_count,
        "num_tracker_ids": predicted_count,
        "gt_ids": true_places,
        "tracker_ids": predicted_places,
        "similarity_scores": similarities,
    }
    return IdentityTally(hota.eval_sequence(data), identity.eval_sequence(data))


def combine_identities(tallies: Sequence[IdentityTally]) -> IdentityScores:
    """Scores of all sequences together.

    Raises:
        EvaluationError: there is nothing to score.
    """
    if not tallies:
        raise EvaluationError("there is no sequence, so there is nothing to score")
    hota, identity = _metrics()
    order = hota.combine_sequences({place: each.hota for place, each in enumerate(tallies)})
    ids = identity.combine_sequences({place: each.identity for place, each in enumerate(tallies)})
    fields = {"hota": "HOTA", "det_a": "DetA", "ass_a": "AssA", "loc_a": "LocA"}
    return IdentityScores(
        **{name: 100 * float(np.mean(order[field])) for name, field in fields.items()},
        **{name: 100 * float(ids[name.upper()]) for name in ("idf1", "idp", "idr")},
    )


def _metrics() -> tuple[Any, Any]:
    try:
        from trackeval.metrics import HOTA, Identity
    except ModuleNotFoundError as error:
        # TrackEval wants opencv-python, which would overwrite the opencv-python-headless that posewire has.
        raise EvaluationError(
            f"HOTA and IDF1 need TrackEval ({error.name} is missing); install it without its OpenCV:"
            " pip install --no-deps trackeval, after pip install 'posewire[eval]'"
        ) from error
    return HOTA(), Identity({"THRESHOLD": SIMILARITY_THRESHOLD, "PRINT_CONFIG": False})


def _dense(ids: Sequence[Ints]) -> tuple[list[Ints], int]:
    """Ids as numbers from 0 without gaps, and how many there are."""
    known, places = np.unique(np.concatenate([np.zeros(0, np.int64), *ids]), return_inverse=True)
    return np.split(places.astype(np.int64), np.cumsum([len(each) for each in ids])[:-1]) if ids else [], len(known)
