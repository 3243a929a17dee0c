"""The PoseTrack challenge's metrics with the semantics of its official toolkit, poseval."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from posewire.array_types import Float64s
from posewire.joints import JointSet
from posewire_evaluation.average_precision import average_precision
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.frame_pairs import scored_frames
from posewire_evaluation.joint_matching import FrameMatch, check_head_sizes, match_frame
from posewire_evaluation.joint_tracking import TrackingCounts, count_tracking
from posewire_evaluation.sequences import Bools, Ints, PoseSequence

__all__ = ["PARTS", "PerJoint", "PoseTrackScores", "SequenceTally", "combine", "score_posetrack", "tally"]

PARTS: dict[str, tuple[str, ...]] = {
    "Head": ("head_top", "head_bottom", "nose"),
    "Shou": ("right_shoulder", "left_shoulder"),
    "Elb": ("right_elbow", "left_elbow"),
    "Wri": ("right_wrist", "left_wrist"),
    "Hip": ("right_hip", "left_hip"),
    "Knee": ("right_knee", "left_knee"),
    "Ankl": ("right_ankle", "left_ankle"),
}
"""The columns of poseval's tables."""


@dataclass(frozen=True, eq=False)
class PerJoint:
    """A metric per joint, in percent.

    Attributes:
        names: of the joints, in the order of the joint set.
        values: `(k,)`; NaN where a joint has no value because it is never annotated.
    """

    names: tuple[str, ...]
    values: Float64s

    @property
    def total(self) -> float:
        """The mean over the joints that have a value; NaN if none has."""
        known = self.values[~np.isnan(self.values)]
        return float(known.mean()) if len(known) else float("nan")

    @property
    def by_part(self) -> dict[str, float]:
        """Means over the joints of head, shoulders, ...; as in poseval, NaN if one of the joints has no value."""
        rows = {part: [self.names.index(name) for name in names if name in self.names] for part, names in PARTS.items()}
        return {part: float(self.values[places].mean()) for part, places in rows.items() if places}


@dataclass(frozen=True, eq=False)
class PoseTrackScores:
    """What poseval reports.

    Attributes:
        ap: average precision at PCKh 0.5; its total is the mAP.
        ap_precision: precision of all predictions, whatever their scores.
        ap_recall: recall of all predictions.
        mota: multiple object tracking accuracy.
        motp: multiple object tracking precision: 100 for joints in exactly the right place, 50 for joints at the
            threshold.
        precision: share of the predicted joints that are matched.
        recall: share of the annotated joints that are matched.
        counts: what MOTA, MOTP, precision and recall are computed from, `(k,)` each.
        sequences: number of sequences scored.
        frames: number of labelled frames in them.
    """

    ap: PerJoint
    ap_precision: PerJoint
    ap_recall: PerJoint
    mota: PerJoint
    motp: PerJoint
    precision: PerJoint
    recall: PerJoint
    counts: TrackingCounts
    sequences: int
    frames: int

    @property
    def switches(self) -> Ints:
        """`(k,)` identity switches."""
        return self.counts.switches


@dataclass(frozen=True, eq=False)
class SequenceTally:
    """What one sequence contributes to the scores.

    Attributes:
        joint_set: of the sequence.
        frames: number of labelled frames.
        scores: of the predicted joints, one array per joint.
        correct: whether each predicted joint is right, likewise.
        annotated: `(k,)` number of true joints.
        tracking: the CLEAR MOT counts.
    """

    joint_set: JointSet
    frames: int
    scores: tuple[Float64s, ...]
    correct: tuple[Bools, ...]
    annotated: Ints
    tracking: TrackingCounts


def score_posetrack(pairs: Iterable[tuple[PoseSequence, PoseSequence]]) -> PoseTrackScores:
    """Score predictions against the truth.

        scores = score_posetrack([(read_posetrack(truth), read_posetrack(predicted, predictions=True))])
        print(scores.ap.total, scores.mota.total, scores.mota.by_part["Head"])

    Args:
        pairs: truth and prediction of each sequence, with the same frames and joint set.

    Raises:
        EvaluationError: the two of a pair differ in frames or joints, a person of the truth has no head size, or there
            is nothing to score.
    """
    return combine(tally(truth, predicted) for truth, predicted in pairs)


def tally(truth: PoseSequence, predicted: PoseSequence) -> SequenceTally:
    """Count one sequence.

    Raises:
        EvaluationError: as in `score_posetrack`.
    """
    check_head_sizes(truth)
    frames = [match_frame(true, guess) for true, guess in scored_frames(truth, predicted)]
    joints = len(truth.joint_set)
    annotated = sum((frame.truth.present.sum(axis=0, dtype=np.int64) for frame in frames), np.zeros(joints, np.int64))
    scores, correct = _labels(frames, joints)
    return SequenceTally(truth.joint_set, len(frames), scores, correct, annotated, count_tracking(frames, joints))


def _labels(frames: list[FrameMatch], joints: int) -> tuple[tuple[Float64s, ...], tuple[Bools, ...]]:
    """Scores of the predicted joints and whether they are right, one array per joint."""
    given = np.concatenate([np.zeros((0, joints), np.bool_), *(frame.predicted.present for frame in frames)])
    scores = np.concatenate([np.zeros((0, joints)), *(frame.predicted.joints[..., 2] for frame in frames)])
    correct = np.concatenate([np.zeros((0, joints), np.bool_), *(frame.correct for frame in frames)])
    columns = range(joints)
    return (
        tuple(scores[given[:, joint], joint] for joint in columns),
        tuple(correct[given[:, joint], joint] for joint in columns),
    )


def combine(tallies: Iterable[SequenceTally]) -> PoseTrackScores:
    """Scores over all sequences.

    Raises:
        EvaluationError: there is nothing to score, or the sequences have different joints.
    """
    parts = list(tallies)
    frames = sum(part.frames for part in parts)
    if not frames:
        raise EvaluationError("the truth has no frame with people, so there is nothing to score")
    joint_set = parts[0].joint_set
    if any(part.joint_set != joint_set for part in parts):
        raise EvaluationError("the sequences have different joint sets; score those of one set together")
    annotated = sum((part.annotated for part in parts), np.zeros(len(joint_set), np.int64))
    precisions = [
        average_precision(
            np.concatenate([part.scores[joint] for part in parts]),
            np.concatenate([part.correct[joint] for part in parts]),
            int(annotated[joint]),
        )
        for joint in range(len(joint_set))
    ]
    average, precision, recall = (100 * np.array(values) for values in zip(*precisions, strict=True))
    counts = sum((part.tracking for part in parts), TrackingCounts.none(len(joint_set)))
    objects = _or_nan(counts.misses + counts.matches)
    matches = _or_nan(counts.matches)
    lost = counts.misses + counts.switches + counts.false_positives

    def per_joint(values: Float64s) -> PerJoint:
        return PerJoint(joint_set.names, values)

    return PoseTrackScores(
        ap=per_joint(average),
        ap_precision=per_joint(precision),
        ap_recall=per_joint(recall),
        mota=per_joint(100 * (1 - lost / objects)),
        # In poseval, a joint without a match has an MOTP of 0, which is included in the mean.
        motp=per_joint(np.where(counts.matches > 0, 100 * (1 - counts.distance / matches), 0.0)),
        precision=per_joint(100 * (counts.matches / _or_nan(counts.matches + counts.false_positives))),
        recall=per_joint(100 * (counts.matches / objects)),
        counts=counts,
        sequences=len(parts),
        frames=frames,
    )


def _or_nan(counts: npt.NDArray[np.int64]) -> Float64s:
    """The counts as divisors: NaN instead of 0."""
    return np.where(counts > 0, counts, np.nan)
