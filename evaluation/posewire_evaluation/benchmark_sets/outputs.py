"""Ground truth with faults, in place of networks."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from posewire.array_types import Float32s, Float64s
from posewire.joints import AREA_OF_BOX, NANO19, JointSet
from posewire_evaluation.benchmark_sets.faults import Faults, missed_frames
from posewire_evaluation.benchmark_sets.scenes import DrawnScene, FlowKind
from posewire_models.frames import FlowField as EstimatedFlow
from posewire_server.tracking import Boxes, BoxSource, FlowField
from posewire_server.tracking.box_geometry import iou

__all__ = ["FaultyOutputs"]


# People who are less visible than this are never detected. A fully visible person gets a score of about 0.95; a person
# of whom a third is visible gets about 0.5, the tracker's threshold.
_LEAST_VISIBLE = 0.1
_SCORE_UNSEEN, _SCORE_PER_SEEN, _SCORE_NOISE = 0.25, 0.7, 0.04
# Scores of joints that are hidden, outside the picture or the crop, and visible. Those of visible joints differ between
# people, and a little between frames. With joints that the body itself hides, the mean of a pose is 0.4 to 0.75.
_HIDDEN, _OUTSIDE = 0.2, 0.08
_SEEN, _FRAME_NOISE, _JOINT_NOISE = (0.55, 0.85), 0.05, 0.05
# Mean scores of poses in false boxes: percentiles 5, 25, 50, 75 and 95 of the nano bundle's pose network in false boxes
# of its detector. (In true boxes on COCO pictures they are 0.25, 0.45, 0.61, 0.75, 0.89.)
_SEEN_IN_PHANTOMS = ((0.05, 0.25, 0.5, 0.75, 0.95), (0.15, 0.26, 0.34, 0.48, 0.68))
# The crop that the pose network sees is larger than the box by this factor.
_CROP = 1.25
# A box that overlaps nobody by at least this much contains nobody.
_LEAST_OVERLAP = 0.15
_KAPPAS = 2.0 * np.asarray(NANO19.sigmas, np.float32)


class _Phantoms(NamedTuple):
    """Things that look like people, in the coordinates of the scene before camera motion."""

    boxes: Float32s
    joints: Float32s
    fires: npt.NDArray[np.bool_]
    """`(frames, n)`"""


class FaultyOutputs:
    """The `StageOutputs` of a scene: its ground truth with faults.

    The same scene and faults always give the same outputs. A person's pose in a frame does not depend on the tracker or
    on the box: all trackers get the same poses.

    Args:
        scene: that supplies the truth.
        faults: that are applied to it.
        flow: where the flow comes from.
    """

    joint_set: JointSet = NANO19

    def __init__(self, scene: DrawnScene, faults: Faults, flow: FlowKind = FlowKind.TRUE) -> None:
        self._scene, self._faults, self._flow = scene, faults, flow
        self._size = (scene.config.height, scene.config.width)
        everybody = np.unique(np.concatenate([people.ids for people in scene.people]))
        self._missed = {
            person: missed_frames(faults, len(scene.people), self._rng(1, person)) for person in everybody.tolist()
        }
        self._phantoms = self._make_phantoms()
        # Many trackers ask for the same frames.
        self._known_detections: dict[int, Boxes] = {}
        self._known_flow: dict[int, FlowField] = {}
        self._known_people: dict[int, tuple[Float32s, Float32s, Float32s]] = {}

    def __len__(self) -> int:
        return len(self._scene.people)

    def detections(self, frame: int) -> Boxes:
        """Boxes of all people who are neither hidden nor missed, and of phantoms, in random order."""
        if frame not in self._known_detections:
            self._known_detections[frame] = self._detect(frame)
        return self._known_detections[frame]

    def _detect(self, frame: int) -> Boxes:
        people, rng = self._scene.people[frame], self._rng(2, frame)
        boxes, scores = [], []
        for row, person in enumerate(people.ids.tolist()):
            noise = self._rng(3, frame, person).standard_normal(5).astype(np.float32)
            visible = float(people.visible_fraction[row])
            if visible >= _LEAST_VISIBLE and not self._missed[person][frame]:
                box = people.boxes[row]
                sides = np.tile(box[2:] - box[:2], 2)
                boxes.append(box + self._faults.box_jitter * sides * noise[:4])
                scores.append(_SCORE_UNSEEN + _SCORE_PER_SEEN * visible + _SCORE_NOISE * noise[4])
        seen = self._phantom_boxes(frame)[self._phantoms.fires[frame]]
        boxes += list(seen)
        scores += rng.uniform(0.5, 0.8, len(seen)).tolist()
        order = rng.permutation(len(boxes))
        found = np.array(boxes, np.float32).reshape(-1, 4)[order]
        return Boxes.of(found, np.clip(np.array(scores, np.float32)[order], 0.01, 0.99), BoxSource.DETECTOR)

    def flow(self, frame: int) -> FlowField:
        """The flow from frame - 1 to `frame`."""
        if frame not in self._known_flow:
            self._known_flow[frame] = self._look_up_flow(frame)
        return self._known_flow[frame]

    def _look_up_flow(self, frame: int) -> FlowField:
        if self._flow is FlowKind.TRUE:
            return self._scene.flow(frame)
        return EstimatedFlow(self._scene.estimated[self._flow][frame - 1].astype(np.float32), self._size)

    def elapsed(self, frame: int) -> float:
        """Always 1: no frame is missing."""
        return 1.0

    def poses(self, frame: int, xyxy: Float32s) -> Float32s:
        """Pose in each box `(n, 4)`: of the person or phantom with the highest product of IoU and visibility."""
        if frame not in self._known_people:
            self._known_people[frame] = self._look_at(frame)
        boxes, clearness, joints = self._known_people[frame]
        found = np.zeros((len(xyxy), len(NANO19), 3), np.float32)
        somebody = np.zeros(len(xyxy), np.bool_)
        if len(boxes):
            claims = iou(xyxy, boxes) * clearness
            somebody = claims.max(axis=1) >= _LEAST_OVERLAP
            found[somebody] = joints[claims.argmax(axis=1)[somebody]]
        for row in np.flatnonzero(~somebody).tolist():
            found[row] = self._pose_of_nobody(frame, xyxy[row])
        return _seen_in_crop(found, xyxy)

    def _look_at(self, frame: int) -> tuple[Float32s, Float32s, Float32s]:
        """Boxes `(n, 4)`, visibility `(n,)` and poses of the people in a frame, followed by the phantoms."""
        people = self._scene.people[frame]
        visible = people.visible_fraction
        clearness = np.where(visible >= 0.5 * _LEAST_VISIBLE, 0.3 + 0.7 * visible, 0.0)
        boxes = np.concatenate([people.boxes, self._phantom_boxes(frame)])
        clearness = np.concatenate([clearness, np.full(len(self._phantoms.boxes), 0.5)]).astype(np.float32)
        joints = np.array([self._pose(frame, row) for row in range(len(boxes))], np.float32)
        return boxes, clearness, joints.reshape(-1, len(NANO19), 3)

    def _pose(self, frame: int, row: int) -> Float32s:
        """The pose `(19, 3)` of a person in the frame, or of a phantom (the rows after the people)."""
        people = self._scene.people[frame]
        if row >= len(people.ids):
            phantom = row - len(people.ids)
            return _mapped(self._phantoms.joints[phantom], self._scene.bases[frame])
        rng = self._rng(4, frame, int(people.ids[row]))
        noise = rng.standard_normal((len(NANO19), 3)).astype(np.float32)
        width, height = people.boxes[row, 2:] - people.boxes[row, :2]
        scale = _KAPPAS * np.sqrt(AREA_OF_BOX * width * height)
        pose: Float32s = people.joints[row].copy()
        pose[:, :2] += self._faults.joint_jitter * scale[:, None] * noise[:, :2]
        seen = self._rng(7, int(people.ids[row])).uniform(*_SEEN) + _FRAME_NOISE * rng.standard_normal()
        score = np.array([_OUTSIDE, _HIDDEN, seen], np.float32)[people.joints[row, :, 2].astype(int)]
        pose[:, 2] = np.clip(score + _JOINT_NOISE * noise[:, 2], 0.01, 0.99)
        return pose

    def _pose_of_nobody(self, frame: int, box: Float32s) -> Float32s:
        """A pose network's output in a box without a person: joints anywhere, with low scores."""
        rng = self._rng(5, frame)
        places = rng.random((len(NANO19), 2)) * (box[2:] - box[:2]) + box[:2]
        return np.column_stack([places, rng.uniform(0.02, 0.15, len(NANO19))]).astype(np.float32)

    def _make_phantoms(self) -> _Phantoms:
        count, (height, width) = self._faults.phantoms, self._size
        rng = self._rng(6)
        tall = rng.uniform(0.3, 0.6, count) * height
        feet = np.column_stack([rng.uniform(0.1, 0.9, count) * width, rng.uniform(0.75, 0.95, count) * height])
        half = np.column_stack([0.18 * tall, tall])
        boxes = np.column_stack([feet - half, feet + half * (1, 0)]).astype(np.float32)
        within = rng.uniform(0.05, 0.95, (count, len(NANO19), 2)).astype(np.float32)
        places = boxes[:, None, :2] + within * (boxes[:, 2:] - boxes[:, :2])[:, None]
        means = np.interp(rng.random((count, 1, 1)), *_SEEN_IN_PHANTOMS)
        scores = means + 2 * _JOINT_NOISE * rng.standard_normal((count, len(NANO19), 1))
        joints = np.concatenate([places, np.clip(scores, 0.01, 0.99)], axis=2).astype(np.float32)
        return _Phantoms(boxes, joints, rng.random((len(self), count)) < self._faults.phantom_rate)

    def _phantom_boxes(self, frame: int) -> Float32s:
        corners = self._phantoms.boxes.reshape(-1, 2)
        return _mapped(corners, self._scene.bases[frame]).reshape(-1, 4)

    def _rng(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self._scene.config.seed, *purpose])


def _mapped(points: Float32s, affine: Float64s) -> Float32s:
    """Points `(n, 2)` or joints `(n, 3)` transformed by the affine map `(2, 3)`; scores are kept."""
    moved = points.copy()
    moved[:, :2] = points[:, :2] @ affine[:, :2].T.astype(np.float32) + affine[:, 2].astype(np.float32)
    return moved


def _seen_in_crop(joints: Float32s, xyxy: Float32s) -> Float32s:
    """The joints, with low scores for those outside the crop of their box."""
    middles, sides = (xyxy[:, :2] + xyxy[:, 2:]) / 2, xyxy[:, 2:] - xyxy[:, :2]
    # The crop has the aspect ratio of the network's input, 4:3.
    sides = np.maximum(sides, sides[:, ::-1] * (0.75, 4 / 3)) * _CROP
    away = np.abs(joints[..., :2] - middles[:, None]) > sides[:, None] / 2
    unseen = np.where(away.any(axis=2), np.minimum(joints[..., 2], _OUTSIDE), joints[..., 2])
    return np.concatenate([joints[..., :2], unseen[..., None]], axis=2)
