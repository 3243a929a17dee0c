"""CLEAR MOT counts per joint of a sequence, from motmetrics' accumulator."""

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
        switches: matches with a different identity than before.
        matches: all matches, including switches.
        distance: sum over the matches, in head sizes.
    """

    misses: Ints
    false_positives: Ints
    switches: Ints
    matches: Ints
    distance: Float64s

    @classmethod
    def none(cls, joints: int) -> TrackingCounts:
        """Zero counts for `joints` joints."""
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

    Each joint is tracked separately, by its own accumulator, as in poseval: where two matchings have exactly the same
    cost, as with two poses at one place, the choice between them depends on what else there is to match.

    Four behaviours of poseval are kept, since published numbers include them:
      - the last labelled frame of a sequence is left out;
      - a frame in which the truth or the prediction has no people counts one miss and one false positive per joint,
        however many people the other side has;
      - a joint that loses its match and is later matched to another identity is a switch, however long the gap is
        (motmetrics' default);
      - if two people of the truth were last matched to the same identity, the first of them in the file keeps it, so
        that the order of the truth can matter (motmetrics again).

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
    # poseval sums the distances of all events. When it was written these were only the matches; newer versions of
    # motmetrics also list raw pairs. Published numbers, and the definition of MOTP, use the matches only.
    distances = events["D"].to_numpy(np.float64)[np.isin(kinds, ("MATCH", "SWITCH"))]
    return misses, false_positives, switches, len(distances), distances.sum()
