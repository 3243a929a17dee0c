"""Accuracy measures on held-out data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from posewire.array_types import Float32s
from posewire.joints import JointSet

__all__ = ["average_precision", "box_overlaps", "keypoint_similarity", "matches", "pck"]


def pck(joints: Tensor, labels: Tensor, joint_set: JointSet) -> float:
    """PCK@0.2: share of labelled joints within a fifth of the torso (left shoulder to right hip) from their label.

    Args:
        joints: `(n, k, >=2)` predicted x, y.
        labels: `(n, k, 3)` x, y, weight. People without both ends of the torso are left out.
        joint_set: order of the joints.
    """
    shoulder, hip = joint_set.index("left_shoulder"), joint_set.index("right_hip")
    torso = (labels[:, shoulder, :2] - labels[:, hip, :2]).norm(dim=1)
    known = (labels[:, shoulder, 2] > 0) & (labels[:, hip, 2] > 0)
    counted = (labels[..., 2] > 0) & known[:, None]
    near = (joints[..., :2] - labels[..., :2]).norm(dim=2) <= 0.2 * torso[:, None]
    return float((near & counted).sum() / counted.sum().clamp(min=1))


def keypoint_similarity(joints: Tensor, labels: Tensor, areas: Tensor, joint_set: JointSet) -> Tensor:
    """OKS `(n,)` as in COCO's evaluation between people and their labels; arguments as for `pck`, `areas` `(n,)`."""
    sigmas = torch.tensor(joint_set.sigmas, device=joints.device, dtype=joints.dtype)
    squared = (joints[..., :2] - labels[..., :2]).square().sum(dim=2)
    variance = (2 * sigmas).square()
    similar = torch.exp(-squared / (2 * areas[:, None] * variance + 1e-9))
    counted = (labels[..., 2] > 0).to(similar.dtype)
    return (similar * counted).sum(dim=1) / counted.sum(dim=1).clamp(min=1)


def matches(
    found: list[Float32s], truths: list[tuple[Float32s, Float32s]], *, iou: float
) -> tuple[Float32s, npt.NDArray[np.bool_], int]:
    """Which boxes match a person; each person is matched once, by the best box.

    Args:
        found: per image, boxes `(n, 5)` x1, y1, x2, y2, score, best first.
        truths: per image, the ground-truth boxes `(m, 4)`, and ignored boxes `(i, 4)`: found boxes with more than `iou`
            of their own area inside an ignored one count neither as right nor as wrong.
        iou: least IoU of a match.

    Returns:
        scores `(b,)` of all boxes that count, whether each matches a person `(b,)`, and the number of people.
    """
    scores, hits = [], []
    for boxes, (known, ignored) in zip(found, truths, strict=True):
        taken = np.zeros(len(known), bool)
        for box in boxes:
            overlaps = box_overlaps(box, known, of_own=False)
            overlaps[taken] = 0
            best = int(overlaps.argmax()) if len(known) else -1
            hit = best >= 0 and overlaps[best] >= iou
            if hit:
                taken[best] = True
            elif len(ignored) and box_overlaps(box, ignored, of_own=True).max() >= iou:
                continue
            scores.append(float(box[4]))
            hits.append(hit)
    return np.array(scores, np.float32), np.array(hits, bool), sum(len(known) for known, _ in truths)


def average_precision(found: list[Float32s], truths: list[tuple[Float32s, Float32s]], *, iou: float) -> float:
    """Average precision over 101 recall levels, as in COCO's evaluation; arguments as for `matches`."""
    scores, hits, people = matches(found, truths, iou=iou)
    if not people or not len(scores):
        return 0.0
    right = np.cumsum(hits[np.argsort(-scores, kind="stable")])
    precision = right / np.arange(1, len(right) + 1)
    precision = np.maximum.accumulate(precision[::-1])[::-1]
    reached = np.searchsorted(right / people, np.linspace(0, 1, 101), side="left")
    return float(np.mean([precision[row] if row < len(precision) else 0.0 for row in reached]))


def box_overlaps(box: Float32s, boxes: Float32s, *, of_own: bool) -> Float32s:
    """IoU of a box with each of `(n, 4)` boxes, or, if `of_own`, the share of its own area that they cover."""
    sides = np.minimum(box[2:4], boxes[:, 2:]) - np.maximum(box[:2], boxes[:, :2])
    shared = sides.clip(0).prod(axis=1)
    own = float((box[2:4] - box[:2]).prod())
    whole = own if of_own else own + (boxes[:, 2:] - boxes[:, :2]).prod(axis=1) - shared
    overlaps: Float32s = shared / np.maximum(whole, 1e-6)
    return overlaps
