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


def identity_switches(scene: Iterable[FrameTruth], least_visible: float, **settings: object) -> int:
    """How often a true person's id changes although it was out of sight for less than L_Q frames."""
    tracker = Tracker(TrackerConfig(propagation=False, **settings), NANO19.sigmas)  # type: ignore[arg-type]
    last_seen: dict[int, tuple[int, int]] = {}  # true id -> its track, the frame in which it was seen
    switches = 0
    for truth in scene:
        seen = truth.visible_fraction >= least_visible
        for true_id, track in follow(tracker, truth, seen).items():
            known, when = last_seen.get(true_id, (track, truth.index))
            switches += track != known and truth.index - when <= tracker.config.queue_length
            last_seen[true_id] = track, truth.index
    return switches


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


@pytest.mark.parametrize("preset", ["crossing", "occlusion", "crowd", "camera-motion"])
def test_multi_flow_makes_no_identity_error_on_the_truth(preset: str) -> None:
    assert identity_switches(walk(preset, seed=1, frames=100), least_visible=0.0) == 0


def test_multi_flow_bridges_occlusions_that_single_flow_does_not() -> None:
    scene = list(walk("crossing", seed=0, frames=120))
    multi, single = (
        identity_switches(scene, least_visible=0.3, similarity=kind)
        for kind in (Similarity.MULTI_FLOW, Similarity.FLOW)
    )
    assert multi == 0 < single
