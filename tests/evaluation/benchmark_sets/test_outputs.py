from __future__ import annotations

import numpy as np
import pytest

from posewire_evaluation.benchmark_sets.faults import FAULTS, Faults
from posewire_evaluation.benchmark_sets.outputs import FaultyOutputs
from posewire_evaluation.benchmark_sets.scenes import DrawnScene, FlowKind

FRAME = 9
NONE = Faults()


def test_without_faults_the_outputs_are_the_truth(scene: DrawnScene) -> None:
    outputs, people = FaultyOutputs(scene, NONE), scene.people[FRAME]
    found = outputs.detections(FRAME)
    assert sorted(map(tuple, found.xyxy.tolist())) == sorted(map(tuple, people.boxes.tolist()))
    joints = outputs.poses(FRAME, people.boxes)
    np.testing.assert_array_equal(joints[..., :2], people.joints[..., :2])
    seen = people.joints[..., 2] == 2
    assert joints[seen, 2].min() > 0.4 > joints[~seen, 2].max()


def test_the_same_faults_give_the_same_outputs_in_any_order(scene: DrawnScene) -> None:
    one, other = FaultyOutputs(scene, FAULTS["all"]), FaultyOutputs(scene, FAULTS["all"])
    other.detections(3)
    boxes = one.detections(FRAME).xyxy
    np.testing.assert_array_equal(boxes, other.detections(FRAME).xyxy)
    np.testing.assert_array_equal(one.poses(FRAME, boxes), other.poses(FRAME, boxes[::-1])[::-1])


def test_a_pose_does_not_depend_on_the_box_it_is_found_by(scene: DrawnScene) -> None:
    outputs, boxes = FaultyOutputs(scene, Faults(joint_jitter=0.3)), scene.people[FRAME].boxes
    shifted = outputs.poses(FRAME, boxes + np.float32(2))
    np.testing.assert_array_equal(outputs.poses(FRAME, boxes)[..., :2], shifted[..., :2])


@pytest.mark.parametrize("share", [0.02, 0.1])
def test_boxes_jitter_as_much_as_asked_for(share: float, scene: DrawnScene) -> None:
    outputs = FaultyOutputs(scene, Faults(box_jitter=share))
    deviations = []
    for frame, people in enumerate(scene.people):
        found = outputs.detections(frame).xyxy
        true = people.boxes[np.abs(found[:, None] - people.boxes).sum(axis=2).argmin(axis=1)]
        deviations.append((found - true) / np.tile(true[:, 2:] - true[:, :2], 2))
    assert np.concatenate(deviations).std() == pytest.approx(share, rel=0.25)


def test_missed_people_are_missed(scene: DrawnScene) -> None:
    whole, faulty = FaultyOutputs(scene, NONE), FaultyOutputs(scene, Faults(missed=0.3))
    counts = np.array([[len(each.detections(frame)) for frame in range(len(scene.people))] for each in (whole, faulty)])
    assert (counts[1] <= counts[0]).all()
    assert 0.1 < 1 - counts[1].sum() / counts[0].sum() < 0.5


def test_phantoms_stand_where_they_stand_and_look_alike(scene: DrawnScene) -> None:
    outputs = FaultyOutputs(scene, Faults(phantoms=1, phantom_rate=1.0))
    true = FaultyOutputs(scene, NONE)
    places = []
    for frame in range(5):
        known = set(map(tuple, true.detections(frame).xyxy.tolist()))
        places += [box for box in map(tuple, outputs.detections(frame).xyxy.tolist()) if box not in known]
    assert len(places) == 5
    np.testing.assert_allclose(places, np.broadcast_to(places[0], (5, 4)), atol=1e-3)  # the camera stands still
    box = np.array(places[:1], np.float32)
    np.testing.assert_allclose(outputs.poses(0, box), outputs.poses(4, box), atol=1e-3)


def test_an_empty_box_shows_nobody(scene: DrawnScene) -> None:
    outputs = FaultyOutputs(scene, NONE)
    nobody = outputs.poses(FRAME, np.array([[0, 0, 8, 8]], np.float32))
    assert nobody.shape == (1, 19, 3)
    assert nobody[..., 2].max() < 0.2
    assert outputs.poses(FRAME, np.zeros((0, 4), np.float32)).shape == (0, 19, 3)


def test_joints_outside_of_the_crop_are_unseen(scene: DrawnScene) -> None:
    people = scene.people[FRAME]
    box = people.boxes[:1].copy()
    box[0, 3] = box[0, 1] + 0.5 * (box[0, 3] - box[0, 1])  # the upper half of a person
    (pose,) = FaultyOutputs(scene, NONE).poses(FRAME, box)
    ankles = pose[15:17]
    assert (ankles[:, 2] < 0.1).all()
    np.testing.assert_array_equal(ankles[:, :2], people.joints[0, 15:17, :2])


@pytest.mark.parametrize("kind", [FlowKind.DIS, FlowKind.NETWORK])
def test_all_kinds_of_flow_are_of_the_frame(kind: FlowKind, scene: DrawnScene) -> None:
    points = scene.people[FRAME - 1].joints[0, 5:17, :2]
    true = FaultyOutputs(scene, NONE).flow(FRAME).at(points)
    np.testing.assert_array_equal(true, scene.flow(FRAME).at(points))
    estimated = FaultyOutputs(scene, NONE, kind).flow(FRAME).at(points)
    assert np.median(np.linalg.norm(estimated - true, axis=1)) < 2
    assert not np.array_equal(estimated, true)
