"""CLEAR MOT counts of each joint of a sequence, by motmetrics' accumulator."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import motmetrics
import numpy as np

from posewire.array_types import Float64s
from posewire_evaluation.joint_matching import PCKH_THRESHOLD, FrameMatch
from posewire_evaluation.sequences import Ints

__all__ = ["TrackingCounts", "count_tracking"]


@dataclass(frozen=True, eq=False)
class TrackingCounts:
    """Counts `(k,)` of each joint.

    Attributes:
        misses: true joints without a match.
        false_positives: predicted joints without a match.
        switches: matches with another identity than the last one.
        matches: all matches, switches among them.
        distance: sum over the matches, in head sizes.
    """

    misses: Ints
    false_positives: Ints
    switches: Ints
    matches: Ints
    distance: Float64s

    @classmethod
    def none(cls, joints: int) -> TrackingCounts:
        """Of nothing."""
        zeros = np.zeros(joints, np.int64)
        return cls(zeros, zeros, zeros, zeros, np.zeros(joints))

    def __add__(self, other: TrackingCounts) -> TrackingCounts:
        return TrackingCounts(
            self.misses + other.misses,
            self.false_positives + other.false_positives,
            self.switches + other.switches,
            self.matches + other.matches,
            self.distance + other.distance,
        )


def count_tracking(frames: Sequence[FrameMatch], joints: int) -> TrackingCounts:
    """Count one sequence.

    Each joint is tracked for itself. One accumulator holds them all: its objects are (person, joint), and only the same
    joints may be matched, so that what it finds is what an accumulator of each joint would, several times as fast.
    (Only where two matchings cost exactly the same may it take the other one.)

    Three habits of poseval are kept, because published numbers have them:
      - the last labelled frame of a sequence is left out;
      - a frame in which truth or prediction has nobody counts one miss and one false positive of each joint, however
        many people the other side has;
      - a joint without a match in one frame, and matched to another identity in the next, is a switch however long the
        gap is (that is motmetrics' default).

    Args:
        frames: labelled frames, in order.
        joints: `k`.
    """
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    true_ids, predicted_ids = _Ids(joints), _Ids(joints)
    for frame in frames[:-1]:
        if frame.one_sided:
            nobody = -1 - np.arange(joints)
            accumulator.update(nobody, nobody, np.full((joints, joints), np.nan))
            continue
        true_joint, true_row = np.nonzero(frame.truth.present.T)
        joint, row = np.nonzero(frame.predicted.present.T)
        distances = frame.distances[row[None, :], true_row[:, None], true_joint[:, None]]
        distances[(true_joint[:, None] != joint[None, :]) | (distances > PCKH_THRESHOLD)] = np.nan
        objects = true_ids.of(frame.truth.ids[true_row], true_joint)
        hypotheses = predicted_ids.of(frame.predicted.ids[row], joint)
        accumulator.update(objects, hypotheses, distances)
    return _counts(accumulator, joints)


class _Ids:
    """Numbers for pairs of person and joint, small enough for motmetrics, which keeps ids as floating-point numbers."""

    def __init__(self, joints: int) -> None:
        self._joints = joints
        self._places: dict[int, int] = {}

    def of(self, ids: Ints, joint: Ints) -> Ints:
        places = [self._places.setdefault(each, len(self._places)) for each in ids.tolist()]
        return np.array(places, np.int64) * self._joints + joint


def _counts(accumulator: motmetrics.MOTAccumulator, joints: int) -> TrackingCounts:
    events = accumulator.mot_events
    if not len(events):
        return TrackingCounts.none(joints)
    kinds = events["Type"].to_numpy().astype(str)
    objects, hypotheses = events["OId"].to_numpy(np.float64), events["HId"].to_numpy(np.float64)
    # Ids below 0 stand for nobody: -1 - joint.
    ids = np.where(np.isnan(objects), hypotheses, objects).astype(np.int64)
    joint = np.where(ids < 0, -1 - ids, ids % joints)

    def count(*wanted: str) -> Ints:
        return np.bincount(joint[np.isin(kinds, wanted)], minlength=joints)

    matched = np.isin(kinds, ("MATCH", "SWITCH"))
    # poseval sums the distances of all events, which were the matches alone when it was written; newer versions of
    # motmetrics list raw pairs among them too. What was published, and what MOTP means, is the matches alone.
    distances = events["D"].to_numpy(np.float64)[matched]
    distance = np.bincount(joint[matched], weights=distances, minlength=joints).astype(np.float64)
    return TrackingCounts(count("MISS"), count("FP"), count("SWITCH"), count("MATCH", "SWITCH"), distance)
