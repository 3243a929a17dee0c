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

    Each joint is tracked for itself, by an accumulator of its own, as in poseval: where two matchings cost exactly the
    same, as with two poses on one spot, it depends on what else there is to match which of the two is found.

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
    counts = zip(*(_count_joint(frames[:-1], joint) for joint in range(joints)), strict=True)
    misses, false_positives, switches, matches, distance = map(np.array, counts)
    return TrackingCounts(misses, false_positives, switches, matches, distance)


def _count_joint(frames: Sequence[FrameMatch], joint: int) -> tuple[int, int, int, int, float]:
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for frame in frames:
        if frame.one_sided:
            accumulator.update([0], [0], [[np.nan]])
            continue
        (true,), (predicted,) = frame.truth.present[:, joint].nonzero(), frame.predicted.present[:, joint].nonzero()
        distances = frame.distances[predicted[None, :], true[:, None], joint]
        distances[distances > PCKH_THRESHOLD] = np.nan
        accumulator.update(frame.truth.ids[true], frame.predicted.ids[predicted], distances)
    events = accumulator.mot_events
    kinds = events["Type"].to_numpy().astype(str)
    misses, false_positives, switches = ((kinds == kind).sum() for kind in ("MISS", "FP", "SWITCH"))
    # poseval sums the distances of all events, which were the matches alone when it was written; newer versions of
    # motmetrics list raw pairs among them too. What was published, and what MOTP means, is the matches alone.
    distances = events["D"].to_numpy(np.float64)[np.isin(kinds, ("MATCH", "SWITCH"))]
    return misses, false_positives, switches, len(distances), distances.sum()
