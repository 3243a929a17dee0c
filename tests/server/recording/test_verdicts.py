from __future__ import annotations

import numpy as np

from posewire_server.recording.verdicts import verdicts
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
    assert "fresh id" in far.why
    assert "went to pose 0" in next_to_it.candidates[0].why or "below" in next_to_it.candidates[0].why
    similarities = [candidate.similarity for candidate in next_to_it.candidates]
    assert similarities == sorted(similarities, reverse=True)


def test_a_rival_is_named() -> None:
    seen, config = observed(at([(0, 0)]), at([(2, 0), (16, 0)]))
    winner, loser = verdicts(seen, config)
    assert winner.id == 1
    (candidate,) = loser.candidates
    assert candidate.why == f"the track went to pose 0, similarity {winner.candidates[0].similarity:.3f}"


def test_what_took_no_part_is_told_too() -> None:
    seen, config = observed(at([(0, 0), (300, 0)]), at([(0, 0), (300, 0), (301, 0)]))
    assert [verdict.id for verdict in verdicts(seen, config)].count(0) == 1
    (dropped,) = [verdict for verdict in verdicts(seen, config) if verdict.id == 0]
    assert "pose NMS" in dropped.why

    flow = boxes_at([(0, 0)], source=BoxSource.FLOW)
    nobody = joints_at([(0, 0)], score=0.05)
    seen, config = observed(at([(0, 0)]), (flow, nobody))
    (empty,) = verdicts(seen, config)
    assert (empty.id, empty.source) == (0, "flow")
    assert "nobody is in this flow box" in empty.why

    seen, config = observed(at([(0, 0)]), (boxes_at([(300, 0)]), joints_at([(300, 0)], score=0.3)))
    (thing,) = verdicts(seen, config)
    assert (thing.id, thing.source) == (0, "detector")
    assert thing.why == "nobody new: 0 of the 3 joints that a fresh id needs reach joint_score_threshold (0.4)"
