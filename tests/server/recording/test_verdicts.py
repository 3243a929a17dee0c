from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from posewire_server.recording.verdicts import PoseVerdict, verdicts
from posewire_server.tracking import Boxes, BoxSource, Observation, Tracker, TrackerConfig
from tests.server.tracking.people import STILL, boxes_at, joints_at, tracker

Places = list[tuple[int, int]]


def observed(*frames: tuple[Boxes, np.ndarray]) -> tuple[Observation, TrackerConfig]:
    """The last of some frames, as an observer saw it."""
    seen: list[Observation] = []
    plain = tracker()
    watched = Tracker(plain.config, plain._sigmas, seen.append)
    for number, (boxes, joints) in enumerate(frames):
        watched.unify(boxes, STILL if number else None)
        watched.update(boxes, joints)
    return seen[-1], plain.config


def at(places: Places) -> tuple[Boxes, np.ndarray]:
    return boxes_at(places), joints_at(places)


def test_who_wins_and_who_loses_and_why() -> None:
    seen, config = observed(at([(0, 0), (300, 0)]), at([(4, 0), (40, 0), (700, 0)]))
    near, next_to_it, far = verdicts(seen, config)
    assert (near.id, near.source) == (1, "detector")
    assert near.candidates[0].won
    assert near.candidates[0].frames_ago == 1
    assert "highest similarity" in near.candidates[0].why
    assert far.id != 0
    assert all("below match_threshold" in candidate.why for candidate in far.candidates)
    assert far.why == f"new id {far.id}: no open track is similar enough"
    (first,) = verdicts(*observed(at([(0, 0)])))
    assert first.why == "new id 1"
    assert "below match_threshold" in next_to_it.candidates[0].why  # though near has that track
    similarities = [candidate.similarity for candidate in next_to_it.candidates]
    assert similarities == sorted(similarities, reverse=True)


def test_a_rival_is_named() -> None:
    seen, config = observed(at([(0, 0)]), at([(2, 0), (16, 0)]))
    winner, loser = verdicts(seen, config)
    assert winner.id == 1
    (candidate,) = loser.candidates
    assert candidate.why == f"the track went to pose 0, similarity {winner.candidates[0].similarity:.3f}"


def test_a_flow_box_that_keeps_its_track_is_no_rival() -> None:
    """Its pose is matched last, however similar it is."""
    boxes = boxes_at([(29, 0)]) + Boxes.of([0, 0, 80, 200], 0.9, BoxSource.FLOW, 1)
    seen, config = observed(at([(0, 0), (28, 0)]), (boxes, joints_at([(29, 0), (0, 0)])))
    found, carried = verdicts(seen, config)
    assert (found.id, carried.id) == (2, 1)
    assert found.candidates[1].similarity > config.match_threshold
    assert "the pose went to id 2" in found.candidates[1].why
    assert carried.candidates[1].why == "a flow box can only continue its own track, id 1"


def test_a_flow_box_loses_its_track_to_a_box_of_the_detector() -> None:
    boxes = boxes_at([(24, 0)]) + Boxes.of([0, 0, 80, 200], 0.9, BoxSource.FLOW, 1)
    seen, config = observed(at([(0, 0)]), (boxes, joints_at([(24, 0), (0, 0)])))
    found, carried = verdicts(seen, config)
    assert (found.id, carried.id) == (1, 0)
    assert "unmatched flow box" in carried.why
    assert carried.candidates[0].similarity > found.candidates[0].similarity
    assert "the track went to pose 0" in carried.candidates[0].why


def test_what_took_no_part_is_told_too() -> None:
    boxes, joints = at([(0, 0), (300, 0), (301, 0)])
    joints[2, 3:, 2] = 0  # as few as in an empty flow box
    seen, config = observed(at([(0, 0), (300, 0)]), (boxes, joints))
    assert [verdict.id for verdict in verdicts(seen, config)].count(0) == 1
    (dropped,) = [verdict for verdict in verdicts(seen, config) if verdict.id == 0]
    assert "pose NMS" in dropped.why

    flow = boxes_at([(0, 0)], source=BoxSource.FLOW)
    nobody = joints_at([(0, 0)], score=0.05)
    seen, config = observed(at([(0, 0)]), (flow, nobody))
    (empty,) = verdicts(seen, config)
    assert (empty.id, empty.source) == (0, "flow")
    assert "no person in this flow box" in empty.why

    seen, config = observed(at([(0, 0)]), (boxes_at([(300, 0)]), joints_at([(300, 0)], score=0.3)))
    (thing,) = verdicts(seen, config)
    assert (thing.id, thing.source) == (0, "detector")
    assert thing.why == "no new id: 0 of the 3 joints that a new id needs reach joint_score_threshold (0.4)"


def check_candidates(verdict: PoseVerdict, told: Sequence[PoseVerdict], threshold: float) -> None:
    """Each reason is true of what became of the others."""
    for candidate in verdict.candidates:
        assert candidate.won == (candidate.track == verdict.id)
        numbers = re.findall(r"[\d.]+", candidate.why)
        if candidate.won:
            assert candidate.similarity >= threshold
        elif "below match_threshold" in candidate.why:
            assert candidate.similarity < threshold
        elif "only continue its own track" in candidate.why:
            assert verdict.source == "flow"
            assert int(numbers[0]) not in (candidate.track, 0)
        elif "the track went" in candidate.why:
            rival = told[int(numbers[0])]
            (same,) = [each for each in rival.candidates if each.won]
            assert (rival.id, f"{same.similarity:.3f}") == (candidate.track, numbers[1])
            assert rival.source == "detector"  # its poses are matched before those of flow boxes
            assert same.similarity >= candidate.similarity or verdict.source == "flow"
        else:
            assert "the pose went" in candidate.why
            (same,) = [each for each in verdict.candidates if each.won]
            assert (same.track, f"{same.similarity:.3f}") == (int(numbers[0]), numbers[1])
            assert same.similarity >= candidate.similarity


@given(
    frames=st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), max_size=5),
            st.sampled_from([(0.2, 17), (0.9, 17), (0.9, 5)]),
            st.booleans(),
        ),
        min_size=2,
        max_size=6,
    )
)
def test_whatever_happens_in_a_crowd_is_told_as_it_was(
    frames: list[tuple[Places, tuple[float, int], bool]],
) -> None:
    """Some poses are seen badly, and some flow boxes have drifted to somebody else."""
    seen: list[Observation] = []
    plain = tracker()
    watched, last_seen = Tracker(plain.config, plain._sigmas, seen.append), dict[int, int]()
    for number, (places, (score, shown), drifted) in enumerate(frames):
        boxes = watched.unify(boxes_at([(4 * x, 4 * y) for x, y in places]), STILL if number else None)
        joints = joints_at(boxes.xyxy[:, :2], score)
        joints[:, shown:, 2] = 0
        if drifted:
            joints[boxes.sources == BoxSource.FLOW] = joints[:1]
        watched.update(boxes, joints)
        told = verdicts(seen[-1], plain.config)
        assert [verdict.pose for verdict in told] == list(range(len(boxes)))
        ids = dict(zip(seen[-1].rows.tolist(), seen[-1].ids.tolist(), strict=True))
        assert [verdict.id for verdict in told] == [ids.get(pose, 0) for pose in range(len(boxes))]
        for verdict in told:
            assert ("continues" in verdict.why) == (verdict.id in last_seen)
            if verdict.pose not in ids:
                mean_score = joints[verdict.pose, :, 2].mean()
                is_empty = verdict.source == "flow" and mean_score < plain.config.propagation_threshold
                assert ("no person in this flow box" if is_empty else "pose NMS") in verdict.why
            for candidate in verdict.candidates:
                assert candidate.frames_ago == number - last_seen[candidate.track]
            check_candidates(verdict, told, plain.config.match_threshold)
        last_seen |= dict.fromkeys((verdict.id for verdict in told if verdict.id), number)
