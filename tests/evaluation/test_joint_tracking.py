"""The counts of each joint are those of motmetrics, whatever there is of the other joints."""

from __future__ import annotations

import motmetrics
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from posewire_evaluation.frame_pairs import scored_frames
from posewire_evaluation.joint_matching import FrameMatch, match_frame
from posewire_evaluation.joint_tracking import TrackingCounts, count_tracking
from posewire_evaluation.sequences import PoseFrame
from tests.evaluation.people import JOINTS, random_pair

FIELDS = ("misses", "false_positives", "switches", "matches")


def one_by_one(frames: list[FrameMatch], joint: int) -> tuple[list[int], float]:
    """An accumulator for this joint alone, filled as poseval fills it."""
    accumulator = motmetrics.MOTAccumulator(auto_id=True)
    for each in frames[:-1]:
        if each.one_sided:
            accumulator.update([0], [0], [[np.nan]])
            continue
        rows, columns = np.nonzero(each.truth.present[:, joint])[0], np.nonzero(each.predicted.present[:, joint])[0]
        distances = each.distances[np.ix_(columns, rows)][..., joint].T
        ids = each.truth.ids[rows] + 1, each.predicted.ids[columns] + 1
        accumulator.update(*ids, np.where(distances <= 0.5, distances, np.nan))
    names = ["num_misses", "num_false_positives", "num_switches", "num_detections", "num_objects"]
    if not len(frames[:-1]):
        return [0, 0, 0, 0], 0.0
    counts = motmetrics.metrics.create().compute(accumulator, metrics=names, return_dataframe=False)
    assert counts["num_objects"] == counts["num_misses"] + counts["num_detections"]
    events = accumulator.mot_events
    distance = events["D"][events["Type"].isin(["MATCH", "SWITCH"])].sum()
    return [int(counts[name]) for name in names[:4]], float(distance)


@settings(max_examples=15)  # each is hundreds of accumulators' worth of frames
@given(st.integers(0, 10_000))
def test_each_joint_counts_as_if_it_were_alone(seed: int) -> None:
    frames = [match_frame(*pair) for pair in scored_frames(*random_pair(seed))]
    counts = count_tracking(frames, JOINTS)
    for joint in range(JOINTS):
        expected, distance = one_by_one(frames, joint)
        assert [int(getattr(counts, name)[joint]) for name in FIELDS] == expected
        assert counts.distance[joint] == pytest.approx(distance)


def people_at(number: int, **places: float) -> PoseFrame:
    """People named by their ids, all joints of one at one place."""
    joints = np.array([[(place, 0.0, 1.0)] * JOINTS for place in places.values()])
    ids = [int(name.removeprefix("id")) for name in places]
    return PoseFrame.of(number, ids, joints, head_sizes=np.full(len(places), 10.0))


def test_which_of_two_poses_on_one_spot_is_matched_depends_on_nothing_but_the_joint() -> None:
    # Matching 6 to the first or to the second costs the same. Of a joint alone, motmetrics takes the second.
    frames = [
        match_frame(people_at(0, id5=0, id6=100), people_at(0, id1=100, id2=100, id3=200)),
        match_frame(people_at(1, id6=100), people_at(1, id2=100)),
        match_frame(people_at(2, id6=100), people_at(2, id2=100)),  # left out
    ]
    counts = count_tracking(frames, JOINTS)
    for joint in range(JOINTS):
        assert [int(getattr(counts, name)[joint]) for name in FIELDS] == one_by_one(frames, joint)[0]


def test_no_frames_count_nothing() -> None:
    counts = count_tracking([], JOINTS) + TrackingCounts.none(JOINTS)
    assert all(not getattr(counts, name).any() for name in FIELDS)
