"""Well-known trackers on the same boxes and poses: ByteTrack and Norfair, from their packages.

Neither is a dependency of posewire, not even in an extra. ByteTrack is in `trackers` (Apache-2.0), which depends on
opencv-python, which would overwrite opencv-python-headless; Norfair (BSD-3-Clause) depends on numpy 1 and an older
rich, although it runs with ours. So both are installed without their dependencies:

    pip install supervision && pip install --no-deps trackers norfair filterpy
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from posewire_evaluation.ablation.replay import StageOutputs
from posewire_evaluation.errors import EvaluationError
from posewire_server.tracking import Boxes, TrackedPeople, TrackerConfig
from posewire_server.tracking.box_geometry import box_nms

__all__ = ["BASELINES", "Baseline", "bytetrack", "missing_package", "norfair"]

Baseline = Callable[[StageOutputs, float, int], list[TrackedPeople]]
"""From outputs, frames per second and height of the frames to the people, with ids, of each frame."""

_DEFAULTS = TrackerConfig()


def bytetrack(outputs: StageOutputs, fps: float, height: int) -> list[TrackedPeople]:
    """ByteTrack (Zhang et al., ECCV 2022): boxes only, IoU with Kalman filters, low-score boxes in a second round.

    The package's settings, except for three: tracks start at our box threshold, boxes below it go to the second round,
    and a track has its id from its first frame on, as in posewire.
    """
    trackers, supervision = _package("trackers"), _package("supervision")
    threshold = _DEFAULTS.box_score_threshold
    tracker = trackers.ByteTrackTracker(
        frame_rate=fps,
        track_activation_threshold=threshold,
        high_conf_det_threshold=threshold,
        minimum_consecutive_frames=1,
    )
    tracked = []
    for frame in range(len(outputs)):
        boxes = box_nms(outputs.detections(frame), _DEFAULTS.box_nms_iou, _DEFAULTS.max_people)
        detections = supervision.Detections(
            xyxy=boxes.xyxy, confidence=boxes.scores, data={"row": np.arange(len(boxes))}
        )
        found = tracker.update(detections)
        rows = np.asarray(found.data.get("row", []), np.intp)
        ids = np.zeros(len(boxes), np.int64)
        ids[rows] = np.asarray(found.tracker_id, np.int64) + 1  # -1: no track
        tracked.append(_people(outputs, frame, boxes, ids))
    return tracked


def norfair(outputs: StageOutputs, fps: float, height: int) -> list[TrackedPeople]:
    """Norfair: joints with Kalman filters; a pose is near a track if most of its joints are.

    The settings of Norfair's demo of multi-person pose tracking, except for two: joints count from our threshold on,
    and a track starts in its first frame, as in posewire.
    """
    package, distances = _package("norfair"), _package("norfair.distances")
    tracker = package.Tracker(
        distance_function="mean_euclidean",
        distance_threshold=0.4,
        detection_threshold=_DEFAULTS.joint_score_threshold,
        hit_counter_max=30,
        initialization_delay=0,
        pointwise_hit_counter_max=10,
    )
    # Set here, since the constructor would log a warning that a vectorised distance is faster.
    tracker.distance_function = distances.ScalarDistance(
        distances.create_keypoints_voting_distance(
            keypoint_distance_threshold=height / 40, detection_threshold=_DEFAULTS.joint_score_threshold
        )
    )
    tracked = []
    for frame in range(len(outputs)):
        boxes = outputs.detections(frame)
        boxes = boxes[boxes.scores >= _DEFAULTS.box_score_threshold]
        boxes = box_nms(boxes, _DEFAULTS.box_nms_iou, _DEFAULTS.max_people)
        joints = outputs.poses(frame, boxes.xyxy)
        detections = [
            package.Detection(points=pose[:, :2].astype(np.float64), scores=pose[:, 2], data=(frame, row))
            for row, pose in enumerate(joints)
        ]
        ids = np.zeros(len(boxes), np.int64)
        for track in tracker.update(detections):
            seen_in, row = track.last_detection.data
            if seen_in == frame:  # otherwise it is only predicted
                ids[row] = track.id
        tracked.append(_people(outputs, frame, boxes, ids))
    return tracked


BASELINES: dict[str, Baseline] = {"ByteTrack": bytetrack, "Norfair": norfair}


def missing_package(name: str) -> str | None:
    """The package to install for a baseline; None: nothing is missing."""
    wanted = {"ByteTrack": "trackers", "Norfair": "norfair"}[name]
    try:
        _package(wanted)
    except EvaluationError:
        return wanted
    return None


def _people(outputs: StageOutputs, frame: int, boxes: Boxes, ids: npt.NDArray[np.int64]) -> TrackedPeople:
    """The boxes that got an id, with their poses."""
    boxes, ids = boxes[ids > 0], ids[ids > 0]
    poses = outputs.poses(frame, boxes.xyxy)
    people = TrackedPeople.without_ids(boxes, poses, _DEFAULTS.joint_score_threshold)
    return TrackedPeople(ids, people.scores, boxes, poses)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise EvaluationError(f"the package {error.name} is not installed; see {__name__}") from error
