"""Turns tracked people into the scores in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from posewire.joints import JointSet
from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.identity import score_identities
from posewire_evaluation.posetrack import score_posetrack
from posewire_evaluation.sequences import PoseFrame, PoseSequence
from posewire_server.tracking import TrackedPeople

__all__ = ["Scores", "as_prediction", "score"]


@dataclass(frozen=True)
class Scores:
    """Scores of a tracker; in percent, except for the switches.

    Attributes:
        mean_ap: PoseTrack's mAP.
        mota: PoseTrack's total MOTA.
        idf1: of poses, by OKS.
        hota: of poses, by OKS.
        switches: identity switches, mean over the joints.
        precision: share of the predicted joints that are right.
        recall: share of the true joints that are found.
    """

    mean_ap: float
    mota: float
    idf1: float
    hota: float
    switches: float
    precision: float
    recall: float


def as_prediction(
    truth: PoseSequence,
    tracked: Sequence[TrackedPeople],
    joint_set: JointSet,
    *,
    joint_score_threshold: float,
    numbers: Sequence[int] | None = None,
) -> PoseSequence:
    """Tracked people as a prediction for a sequence, with the frames of the truth.

    Args:
        truth: of the sequence.
        tracked: the people of each frame of the video.
        joint_set: of the tracked poses.
        joint_score_threshold: joints with a lower score are left out, as in the paper.
        numbers: of the video's frames; from 0 if left out.

    Raises:
        EvaluationError: the truth has a frame that the video does not have; the message names both.
    """
    by_number = dict(zip(range(len(tracked)) if numbers is None else numbers, tracked, strict=True))
    frames = []
    for true in truth.frames:
        if true.number not in by_number:
            raise EvaluationError(
                f"{truth.source}: frame {true.number}: the video has only the frames {min(by_number)} to "
                f"{max(by_number)}; give the video that the truth was made of"
            )
        people = by_number[true.number]
        joints = joint_set.convert(people.joints, truth.joint_set)
        present = (joints[..., 2] >= joint_score_threshold) & (joints[..., 2] > 0)
        some = present.any(axis=1)  # people without any joint are left out
        frames.append(
            PoseFrame.of(
                true.number,
                people.ids[some],
                joints[some],
                present=present[some],
                labelled=true.labelled,
                scores=people.scores[some],
                boxes=people.boxes.xyxy[some],
            )
        )
    return PoseSequence(truth.name, truth.joint_set, tuple(frames))


def score(pairs: Sequence[tuple[PoseSequence, PoseSequence]]) -> Scores:
    """Score predictions; raises what `score_posetrack` and `score_identities` raise.

    Args:
        pairs: truth and prediction of each sequence.
    """
    poses, identities = score_posetrack(pairs), score_identities(pairs)
    return Scores(
        mean_ap=poses.ap.total,
        mota=poses.mota.total,
        idf1=identities.idf1,
        hota=identities.hota,
        switches=float(poses.counts.switches.mean()),
        precision=poses.precision.total,
        recall=poses.recall.total,
    )
