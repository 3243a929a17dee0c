"""The format of the PoseTrack 2018 files."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from posewire.joints import POSETRACK15

__all__ = ["CATEGORY_ID", "KEYPOINTS", "category", "image_id", "in_keypoint_order"]

CATEGORY_ID = 1
"""The id of the only category, people."""

# COCO's 17 keypoints, with neck and head top in place of the eyes; the ears are unused.
KEYPOINTS = (
    "nose", "head_bottom", "head_top", "left_ear", "right_ear", "left_shoulder", "right_shoulder", "left_elbow",
    "right_elbow", "left_wrist", "right_wrist", "left_hip", "right_hip", "left_knee", "right_knee", "left_ankle",
    "right_ankle",
)  # fmt: skip

# Pairs of positions in `KEYPOINTS`, counted from 1, as in the data set's files.
_SKELETON = (
    (16, 14), (14, 12), (17, 15), (15, 13), (12, 13), (6, 12), (7, 13), (6, 7), (6, 8), (7, 9), (8, 10), (9, 11),
    (2, 3), (1, 2), (1, 3), (2, 4), (3, 5), (4, 6), (5, 7),
)  # fmt: skip

_PLACES = [KEYPOINTS.index(name) for name in POSETRACK15.names]


def image_id(video: int, frame: int) -> int:
    """The id of a frame: a 1, six digits for the video, four for the frame."""
    return 10_000_000_000 + video * 10_000 + frame


def category() -> dict[str, Any]:
    """The only entry of `categories`."""
    return {
        "supercategory": "person",
        "id": CATEGORY_ID,
        "name": "person",
        "keypoints": list(KEYPOINTS),
        "skeleton": [list(pair) for pair in _SKELETON],
    }


def in_keypoint_order(joints: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Reorder joints `(15, ...)` of `POSETRACK15` to `(17, ...)` as in `KEYPOINTS`; the ears are zeros."""
    keypoints = np.zeros((len(KEYPOINTS), *joints.shape[1:]), joints.dtype)
    keypoints[_PLACES] = joints
    return keypoints
