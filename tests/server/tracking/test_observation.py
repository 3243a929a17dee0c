from __future__ import annotations

import numpy as np

from posewire_server.tracking import Boxes, BoxSource, Observation, Tracker
from tests.server.tracking.people import STILL, boxes_at, joints_at, tracker


def test_an_observer_sees_who_was_matched_with_whom_and_who_was_left_out() -> None:
    seen: list[Observation] = []
    plain = tracker()
    observed = Tracker(plain.config, plain._sigmas, seen.append)
    for places in ([(0, 0), (300, 0)], [(4, 0), (300, 0), (301, 0), (600, 0)]):
        boxes = boxes_at(places)
        observed.unify(boxes, STILL)
        people = observed.update(boxes, joints_at(places))
    first, second = seen
    assert first.similarities.shape == (2, 0)
    assert sorted(first.ids.tolist()) == [1, 2]
    assert len(second.given) == 4
    assert len(second.rows) == 3  # of the two who stand in the same place, one was dropped
    assert second.track_ids.tolist() == [1, 2]
    assert sorted(second.ids.tolist()) == sorted(people.ids.tolist()) == [1, 2, 3]
    for row, identity in zip(second.similarities, second.ids, strict=True):
        if identity in second.track_ids:
            assert second.track_ids[row.argmax()] == identity
    assert second.queue.ids.tolist() == [1, 2]


def test_what_an_observer_sees_of_flow_boxes() -> None:
    seen: list[Observation] = []
    plain = tracker()
    observed = Tracker(plain.config, plain._sigmas, seen.append)
    boxes = boxes_at([(0, 0)])
    observed.unify(boxes, None)
    observed.update(boxes, joints_at([(0, 0)]))
    carried = observed.unify(Boxes.empty(), STILL)
    assert carried.sources.tolist() == [BoxSource.FLOW]
    nobody = joints_at([(0, 0)])
    nobody[..., 2] = 0.05
    assert len(observed.update(carried, nobody)) == 0
    assert len(seen[1].given) == 1
    assert seen[1].rows.tolist() == []
    assert np.shape(seen[1].similarities) == (0, 1)
