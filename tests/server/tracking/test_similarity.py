from __future__ import annotations

import numpy as np
import pytest

from posewire_server.tracking import Instances, Similarity, TrackedPeople, TrackerConfig
from posewire_server.tracking.similarity import to_tracks
from tests.server.tracking.people import SIGMAS, people_at


def instances(people: TrackedPeople, moved_by: float = 0.0) -> Instances:
    still = np.zeros((len(people), 2), np.float32)
    return Instances(people, people.joints[..., :2] + [moved_by, 0], still, np.zeros(len(people), np.int64))


def similarity(kind: Similarity, queue: list[Instances], at: float = 100.0) -> dict[int, float]:
    config = TrackerConfig(similarity=kind)
    matrix, ids = to_tracks(people_at([(at, 0)]), queue, SIGMAS, config)
    return dict(zip(ids.tolist(), matrix[0].tolist(), strict=True))


def test_each_kind_looks_at_what_the_paper_says() -> None:
    # The person stood at 60 a frame ago, and the flow says it went 40 to the right.
    queue = [instances(people_at([(60, 0)], [5]), moved_by=40.0)]
    assert similarity(Similarity.FLOW, queue)[5] == pytest.approx(1.0)
    assert similarity(Similarity.MULTI_FLOW, queue)[5] == pytest.approx(1.0)
    assert similarity(Similarity.POSE, queue)[5] < 0.5
    assert similarity(Similarity.BBOX, queue)[5] == pytest.approx(40 / 120)


def test_only_multi_flow_remembers_more_than_the_frame_before() -> None:
    queue = [instances(people_at([(100, 0)], [5])), instances(people_at([(400, 0)], [6]))]
    assert similarity(Similarity.MULTI_FLOW, queue) == {5: pytest.approx(1.0), 6: pytest.approx(0.0, abs=1e-3)}
    for kind in (Similarity.BBOX, Similarity.POSE, Similarity.FLOW):
        assert set(similarity(kind, queue)) == {6}


def test_a_track_is_as_similar_as_its_most_similar_instance() -> None:
    queue = [instances(people_at([(100, 0)], [5])), instances(people_at([(140, 0)], [5]))]
    assert similarity(Similarity.MULTI_FLOW, queue)[5] == pytest.approx(1.0)


@pytest.mark.parametrize("queue", [[], [instances(people_at([]))]], ids=["empty queue", "empty frame"])
def test_nobody_is_tracked_yet(queue: list[Instances]) -> None:
    matrix, ids = to_tracks(people_at([(0, 0)]), queue, SIGMAS, TrackerConfig())
    assert matrix.shape == (1, 0)
    assert len(ids) == 0
