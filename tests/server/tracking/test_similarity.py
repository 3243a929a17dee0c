from __future__ import annotations

import pytest

from posewire_server.tracking import Similarity
from posewire_server.tracking.box_geometry import areas
from posewire_server.tracking.oks import Poses
from posewire_server.tracking.propagation import move
from posewire_server.tracking.queue import Queue
from posewire_server.tracking.similarity import similarity_matrix
from tests.server.tracking.people import SIGMAS, UniformFlow, people_at, queue_of


def similarity(kind: Similarity, queue: Queue, at: float = 100.0) -> dict[int, float]:
    people = people_at([(at, 0)])
    poses = Poses(people.joints[..., :2], people.joints[..., 2] > 0, areas(people.boxes.xyxy))
    matrix, ids = similarity_matrix(people.boxes.xyxy, poses, queue, SIGMAS, kind)
    assert matrix.shape == (1, len(ids))
    return dict(zip(ids.tolist(), matrix[0].tolist(), strict=True))


def test_each_kind_looks_at_what_the_paper_says() -> None:
    # The person stood at 60 a frame ago, and the flow says it went 40 to the right.
    queue = move(queue_of(people_at([(60, 0)], [5])), UniformFlow(40), 1.0)
    assert similarity(Similarity.FLOW, queue)[5] == pytest.approx(1.0)
    assert similarity(Similarity.MULTI_FLOW, queue)[5] == pytest.approx(1.0)
    assert similarity(Similarity.POSE, queue)[5] < 0.5
    assert similarity(Similarity.BBOX, queue)[5] == pytest.approx(40 / 120)


def test_only_multi_flow_remembers_more_than_the_frame_before() -> None:
    queue = queue_of(people_at([(100, 0)], [5]), people_at([(400, 0)], [6]))
    assert similarity(Similarity.MULTI_FLOW, queue) == {5: pytest.approx(1.0), 6: pytest.approx(0.0, abs=1e-3)}
    for kind in (Similarity.BBOX, Similarity.POSE, Similarity.FLOW):
        assert set(similarity(kind, queue)) == {6}


def test_a_track_is_as_similar_as_its_most_similar_instance() -> None:
    queue = queue_of(people_at([(100, 0)], [5]), people_at([(140, 0)], [5]))
    assert similarity(Similarity.MULTI_FLOW, queue)[5] == pytest.approx(1.0)


@pytest.mark.parametrize("queue", [queue_of(), queue_of(people_at([]))], ids=["empty queue", "empty frame"])
@pytest.mark.parametrize("kind", Similarity)
def test_nobody_is_tracked_yet(kind: Similarity, queue: Queue) -> None:
    assert similarity(kind, queue) == {}
