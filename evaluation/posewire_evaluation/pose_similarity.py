"""Similarity of predicted and true poses, in 0..1: OKS as the COCO keypoint task defines it."""

from __future__ import annotations

import numpy as np

from posewire.array_types import Float64s
from posewire.joints import AREA_OF_BOX, JointSet
from posewire_evaluation.sequences import PoseFrame

__all__ = ["object_keypoint_similarity"]

_JOINTS_TO_BOX = 1.15
"""The paper's box around a pose: the bounding box of its joints, extended by 15 %."""


def object_keypoint_similarity(truth: PoseFrame, predicted: PoseFrame, joint_set: JointSet) -> Float64s:
    """OKS `(g, p)` between each true and each predicted person.

    The mean over the annotated joints of exp(-d^2 / (2 s^2 (2 sigma)^2)); an annotated joint that is not predicted
    counts as 0. The scale s^2 is 0.53 times the area of the true person's box (or of the box around the joints if none
    is given), and at least the square of the head size, so that a person with one annotated joint has a scale too.
    """
    offsets = predicted.positions[None] - truth.positions[:, None]  # (g, p, k, 2)
    squared = (offsets * offsets).sum(axis=3)
    sigmas = 2 * np.array(joint_set.sigmas)
    likeness = np.exp(-squared / (2 * _squared_scales(truth)[:, None, None] * sigmas * sigmas))
    likeness *= truth.present[:, None] & predicted.present[None]
    return np.asarray(likeness.sum(axis=2) / np.maximum(truth.present.sum(axis=1), 1)[:, None], np.float64)


def _squared_scales(truth: PoseFrame) -> Float64s:
    """`(g,)` areas in square pixels."""
    extents = truth.boxes[:, 2:] - truth.boxes[:, :2]
    unknown = np.isnan(extents).any(axis=1)
    if unknown.any():
        xy, given = truth.joints[unknown, :, :2], truth.present[unknown, :, None]
        far = np.where(given, xy, -np.inf).max(axis=1, initial=-np.inf)
        near = np.where(given, xy, np.inf).min(axis=1, initial=np.inf)
        extents = extents.copy()
        extents[unknown] = np.where(far >= near, _JOINTS_TO_BOX * (far - near), 0.0)
    areas = AREA_OF_BOX * extents.prod(axis=1)
    squared_heads = np.square(np.nan_to_num(truth.head_sizes))
    return np.asarray(np.maximum(np.maximum(areas, squared_heads), 1.0), np.float64)
