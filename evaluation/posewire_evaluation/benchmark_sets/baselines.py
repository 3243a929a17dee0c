"""Trackers that users know, on the same boxes and poses: ByteTrack and Norfair, as their packages have them.

Neither is a dependency of posewire, not even of an extra. ByteTrack comes with `trackers` (Apache-2.0), which asks for
the opencv-python that would overwrite opencv-python-headless; Norfair (BSD-3-Clause) asks for numpy 1 and an older
rich, although it runs with ours. So both are installed without what they ask for:

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
"""Outputs, frames a second and height of the frames in; people with ids of each frame out."""

_DEFAULTS = TrackerConfig()


def bytetrack(outputs: StageOutputs, fps: float, height: int) -> list[TrackedPeople]:
    """ByteTrack (Zhang et al., ECCV 2022): boxes alone, IoU with Kalman filters, doubtful boxes in a second round.

    The package's settings, but for three: tracks begin at our box threshold, boxes below it are for the second round,
    and a track has its id from the first frame on, as posewire's do.
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
    """Norfair: joints with Kalman filters, a pose is near a track when most of its joints are.

    Settings are those of Norfair's demo of multi-person pose tracking, but for two: joints count from our threshold on,
    and a track begins in its first frame, as posewire's do.
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
    # Given to the constructor, a distance of two poses has it log a warning that a distance of arrays were faster.
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
            if seen_in == frame:  # else it is only guessed
                ids[row] = track.id
        tracked.append(_people(outputs, frame, boxes, ids))
    return tracked


BASELINES: dict[str, Baseline] = {"ByteTrack": bytetrack, "Norfair": norfair}


def missing_package(name: str) -> str | None:
    """What has to be installed for a baseline, if anything."""
    wanted = {"ByteTrack": "trackers", "Norfair": "norfair"}[name]
    try:
        _package(wanted)
    except EvaluationError:
        return wanted
    return None


def _people(outputs: StageOutputs, frame: int, boxes: Boxes, ids: npt.NDArray[np.int64]) -> TrackedPeople:
    """Those boxes that got an id, with their poses."""
    boxes, ids = boxes[ids > 0], ids[ids > 0]
    poses = outputs.poses(frame, boxes.xyxy)
    people = TrackedPeople.without_ids(boxes, poses, _DEFAULTS.joint_score_threshold)
    return TrackedPeople(ids, people.scores, boxes, poses)


def _package(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise EvaluationError(f"the package {error.name} is not installed; see {__name__}") from error
