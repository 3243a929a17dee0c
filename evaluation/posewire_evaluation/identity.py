"""HOTA and IDF1, computed by TrackEval, for poses and anything else with ids and a similarity."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from posewire.array_types import Float64s
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.frame_pairs import scored_frames
from posewire_evaluation.pose_similarity import object_keypoint_similarity
from posewire_evaluation.sequences import Ints, PoseSequence

__all__ = [
    "IdentityScores",
    "IdentityTally",
    "TrackedFrames",
    "check_trackeval",
    "combine_identities",
    "score_identities",
    "tally_frames",
    "tally_identities",
]

_SIMILARITY_THRESHOLD = 0.5
"""Lowest similarity of a match, for IDF1; HOTA averages over thresholds from 0.05 to 0.95."""


@dataclass(frozen=True)
class IdentityScores:
    """In percent. `hota`, `det_a`, `ass_a` and `loc_a` are means over TrackEval's 19 similarity thresholds.

    Attributes:
        hota: higher order tracking accuracy.
        det_a: detection accuracy, a component of HOTA.
        ass_a: association accuracy, a component of HOTA.
        loc_a: localisation accuracy: mean similarity of the matches.
        idf1: F1 score of identities, at similarity 0.5.
        idp: precision of identities.
        idr: recall of identities.
    """

    hota: float
    det_a: float
    ass_a: float
    loc_a: float
    idf1: float
    idp: float
    idr: float


@dataclass
class TrackedFrames:
    """True and predicted ids in each frame of a sequence, and their similarities.

    Attributes:
        true_ids: `(g,)` per frame.
        predicted_ids: `(p,)` per frame.
        similarities: `(g, p)` per frame, in 0..1.
    """

    true_ids: list[Ints] = field(default_factory=list)
    predicted_ids: list[Ints] = field(default_factory=list)
    similarities: list[Float64s] = field(default_factory=list)

    def add(self, true_ids: Ints, predicted_ids: Ints, similarity: Float64s) -> None:
        """Add a frame."""
        self.true_ids.append(true_ids)
        self.predicted_ids.append(predicted_ids)
        self.similarities.append(similarity)


@dataclass(frozen=True, eq=False)
class IdentityTally:
    """What one sequence contributes: TrackEval's results for it."""

    hota: dict[str, Any]
    identity: dict[str, Any]


def check_trackeval() -> None:
    """Check that identities can be scored. Call it before hours of work.

    Raises:
        EvaluationError: TrackEval is not installed; the message says how to get it.
    """
    _metrics()


def score_identities(pairs: Iterable[tuple[PoseSequence, PoseSequence]]) -> IdentityScores:
    """Score identities; the similarity of two poses is their OKS.

    The frames are those that MOTA is counted on, plus the last one of each sequence, which poseval leaves out.

    Args:
        pairs: truth and prediction of each sequence, with the same frames and joint set.

    Raises:
        EvaluationError: the two of a pair differ in frames or joints, there is nothing to score, or TrackEval is not
            installed.
    """
    return combine_identities([tally_identities(truth, predicted) for truth, predicted in pairs])


def tally_identities(truth: PoseSequence, predicted: PoseSequence) -> IdentityTally:
    """Count one sequence.

    Raises:
        EvaluationError: as in `score_identities`.
    """
    frames = TrackedFrames()
    for true, guess in scored_frames(truth, predicted):
        # A person without any joint has no pose to compare.
        posed, guessed = true.with_poses(), guess.with_poses()
        frames.add(posed.ids, guessed.ids, object_keypoint_similarity(posed, guessed, truth.joint_set))
    return tally_frames(frames)


def tally_frames(frames: TrackedFrames) -> IdentityTally:
    """Count one sequence with any similarity.

    Raises:
        EvaluationError: TrackEval is not installed.
    """
    hota, identity = _metrics()
    true_places, true_count = _dense(frames.true_ids)
    predicted_places, predicted_count = _dense(frames.predicted_ids)
    data = {
        "num_gt_dets": sum(map(len, true_places)),
        "num_tracker_dets": sum(map(len, predicted_places)),
        "num_gt_ids": true_count,
        "num_tracker_ids": predicted_count,
        "gt_ids": true_places,
        "tracker_ids": predicted_places,
        "similarity_scores": frames.similarities,
    }
    return IdentityTally(hota.eval_sequence(data), identity.eval_sequence(data))


def combine_identities(tallies: Sequence[IdentityTally]) -> IdentityScores:
    """Scores over all sequences.

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
        # TrackEval depends on opencv-python, which would overwrite posewire's opencv-python-headless.
        raise EvaluationError(
            f"HOTA and IDF1 need TrackEval ({error.name} is missing); install it without its OpenCV:"
            " pip install --no-deps trackeval, after pip install 'posewire[eval]'"
        ) from error
    return HOTA(), Identity({"THRESHOLD": _SIMILARITY_THRESHOLD, "PRINT_CONFIG": False})


def _dense(ids: Sequence[Ints]) -> tuple[list[Ints], int]:
    """Ids renumbered from 0 without gaps, and how many there are."""
    if not ids:
        return [], 0
    known, places = np.unique(np.concatenate(ids), return_inverse=True)
    return np.split(places.astype(np.int64), np.cumsum([len(each) for each in ids])[:-1]), len(known)
