"""The tracker on scenes whose truth is known: true boxes, joints and flow go in, true ids must come out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pytest

from posewire.joints import NANO19
from posewire.synth import FrameTruth, Scene, SceneConfig
from posewire_server.tracking import Boxes, BoxSource, Similarity, Tracker, TrackerConfig


def walk(preset: str, **settings: int) -> Iterator[FrameTruth]:
    for frame in Scene(SceneConfig.preset(preset, width=320, height=240, **settings)):
        assert frame.truth.flow_field  # asked for later, it would be found by drawing the frame before once more
        yield frame.truth


def identity_errors(scene: Iterable[FrameTruth], least_visible: float, **settings: object) -> tuple[int, int]:
    """How often a true person's id changes although it was out of sight for less than L_Q frames; how often an id goes
    over to somebody else.
    """
    tracker = Tracker(TrackerConfig(propagation=False, **settings), NANO19.sigmas)  # type: ignore[arg-type]
    last_seen: dict[int, tuple[int, int]] = {}  # true id -> its track, the frame in which it was seen
    owners: dict[int, int] = {}  # track -> true id
    switches = handed_over = 0
    for truth in scene:
        seen = truth.visible_fraction >= least_visible
        for true_id, track in follow(tracker, truth, seen).items():
            known, when = last_seen.get(true_id, (track, truth.index))
            switches += track != known and truth.index - when <= tracker.config.queue_length
            handed_over += owners.get(track, true_id) != true_id
            last_seen[true_id], owners[track] = (track, truth.index), true_id
    return switches, handed_over


def follow(tracker: Tracker, truth: FrameTruth, seen: np.ndarray) -> dict[int, int]:
    """One frame; the track of each true person."""
    given = truth.full_boxes[seen]
    boxes = tracker.unify(Boxes.of(given, np.ones(len(given)), BoxSource.CALLER), truth.flow_field)
    row_of = {tuple(box): row for row, box in enumerate(given.tolist())}
    rows = [row_of[tuple(box)] for box in boxes.xyxy.tolist()]
    joints = truth.joints[seen][rows]
    joints[..., 2] = np.where(joints[..., 2] > 0, 0.9, 0.05)
    people = tracker.update(boxes, joints)
    true_ids = truth.ids[seen][[row_of[tuple(box)] for box in people.boxes.xyxy.tolist()]]
    return dict(zip(true_ids.tolist(), people.ids.tolist(), strict=True))


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("preset", ["crossing", "occlusion", "camera-motion"])
def test_multi_flow_makes_no_identity_error_on_the_truth(preset: str, seed: int) -> None:
    assert identity_errors(walk(preset, seed=seed, frames=100), least_visible=0.0) == (0, 0)


@pytest.mark.parametrize("seed", [0, 1])
def test_in_a_crowd_an_id_goes_over_at_most_to_who_comes_in_where_somebody_was_lost(seed: int) -> None:
    switches, handed_over = identity_errors(walk("crowd", seed=seed, frames=100), least_visible=0.0)
    assert switches == 0
    assert handed_over <= 2


def test_multi_flow_bridges_occlusions_that_single_flow_does_not() -> None:
    scene = list(walk("crossing", seed=0, frames=120))
    multi, single = (
        identity_errors(scene, least_visible=0.3, similarity=kind)[0]
        for kind in (Similarity.MULTI_FLOW, Similarity.FLOW)
    )
    assert multi == 0 < single
