"""Selects what is scored of ground truth and predictions, in the same way for all metrics of PoseTrack data."""

from __future__ import annotations

from collections.abc import Iterator

from posewire_evaluation.errors import EvaluationError
from posewire_evaluation.ignore_regions import without_ignored
from posewire_evaluation.sequences import PoseFrame, PoseSequence

__all__ = ["check_frames", "scored_frames"]


def scored_frames(truth: PoseSequence, predicted: PoseSequence) -> Iterator[tuple[PoseFrame, PoseFrame]]:
    """The labelled frames of a sequence, truth and prediction, without what lies in ignore regions.

    As in poseval, a frame without people in the truth is not scored, whether it is empty or was never labelled:
    predictions there are not penalised.

    Raises:
        EvaluationError: the two differ in frames or joints.
    """
    if truth.joint_set != predicted.joint_set:
        raise EvaluationError(
            f"{predicted.source} has the joints {predicted.joint_set.name}, {truth.source} {truth.joint_set.name};"
            " convert one of them"
        )
    check_frames(truth, predicted)
    for true, guess in zip(truth.frames, predicted.frames, strict=True):
        if true.labelled:
            yield without_ignored(true, true.ignore_regions), without_ignored(guess, true.ignore_regions)


def check_frames(truth: PoseSequence, predicted: PoseSequence) -> None:
    """Raise `EvaluationError` unless the two have the same frames."""
    wanted, there = [frame.number for frame in truth.frames], [frame.number for frame in predicted.frames]
    if wanted == there:
        return
    missing, unknown = sorted(set(wanted) - set(there)), sorted(set(there) - set(wanted))
    if missing:
        fault = f"frame {missing[0]} is missing" + (f", with {len(missing) - 1} more" if len(missing) > 1 else "")
    else:
        fault = f"frame {unknown[0]} is not in the truth" + (f", nor are {len(unknown) - 1} more" * (len(unknown) > 1))
    raise EvaluationError(
        f"{predicted.source}: {fault}; {truth.source} has {len(wanted)} frames, the prediction {len(there)}, and each"
        " frame must have an entry, also where nobody is"
    )
