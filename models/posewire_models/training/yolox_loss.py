"""Assignment of YOLOX's cells to people, and its loss.

Source: Ge et al., "YOLOX: Exceeding YOLO Series in 2021", section 2.1 (SimOTA, after Ge et al., "OTA: Optimal Transport
Assignment for Object Detection", CVPR 2021), and the authors' `yolox/models/{yolo_head, losses}.py`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import box_iou

from posewire_models.detectors.yolox_boxes import boxes_of, cells_of

__all__ = ["YoloxTargets", "assigned", "yolox_loss"]

_CENTER_RADIUS = 2.5
"""A person's cells are within this many cells of its centre, or else in its box."""
_COST_OF_OVERLAP = 3.0
_COST_OUTSIDE = 1e5
_CANDIDATES = 10
"""The number of cells for a person, the dynamic k, is the sum of the overlaps of its best ten."""
_WEIGHT_OF_OVERLAP = 5.0


@dataclass(frozen=True)
class YoloxTargets:
    """Targets of a batch: one entry per image, in input pixels.

    Attributes:
        boxes: `(n, 4)` xyxy of all its people.
        ignored: `(m, 4)` boxes where people may or may not be.
    """

    boxes: list[Tensor]
    ignored: list[Tensor]

    def to(self, device: torch.device) -> YoloxTargets:
        """The same on `device`."""
        return YoloxTargets([boxes.to(device) for boxes in self.boxes], [boxes.to(device) for boxes in self.ignored])


def yolox_loss(predictions: Tensor, targets: YoloxTargets, input_size: tuple[int, int]) -> Tensor:
    """Loss of every cell's objectness and of box and class of cells assigned to people, divided by their number.

    Args:
        predictions: `(b, cells, 6)`, see `YoloxDetector`.
        targets: of the same images.
        input_size: (height, width).
    """
    predictions = predictions.float()
    cells, strides = cells_of(input_size, predictions.device)
    middles = (cells + 0.5) * strides
    boxes = boxes_of(predictions, input_size)
    total = predictions.new_zeros(())
    count = 0
    for image, (known, ignored) in enumerate(zip(targets.boxes, targets.ignored, strict=True)):
        objectness, person = predictions[image, :, 4], predictions[image, :, 5]
        valid = ~_inside(middles, ignored).any(dim=1)
        there = torch.zeros_like(objectness)
        if len(known):
            rows, whose, overlaps = assigned(boxes[image], objectness, person, known, input_size)
            there[rows] = 1.0
            valid[rows] = True
            overlap = _overlap_of_pairs(boxes[image][rows], known[whose])
            total = total + _WEIGHT_OF_OVERLAP * (1 - overlap.square()).sum()
            total = total + functional.binary_cross_entropy_with_logits(person[rows], overlaps, reduction="sum")
            count += len(rows)
        each = functional.binary_cross_entropy_with_logits(objectness, there, reduction="none")
        total = total + each[valid].sum()
    return total / max(count, 1)


@torch.no_grad()
def assigned(
    boxes: Tensor, objectness: Tensor, person: Tensor, known: Tensor, input_size: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """SimOTA: the cells that should predict people.

    Args:
        boxes: `(cells, 4)` xyxy predicted by the network, in input pixels.
        objectness: `(cells,)` logits.
        person: `(cells,)` logits.
        known: `(n, 4)` the people's boxes, at least one.
        input_size: (height, width).

    Returns:
        `(p,)` the cells, the row in `known` that each is assigned to, and the IoU of its box with that one.
    """
    cells, strides = cells_of(input_size, boxes.device)
    middles = (cells + 0.5) * strides  # (cells, 2)
    in_box = _inside(middles, known)  # (cells, n)
    centers = (known[:, :2] + known[:, 2:]) / 2
    near = ((middles[:, None] - centers).abs() < _CENTER_RADIUS * strides[:, None]).all(dim=2)
    (candidates,) = (in_box | near).any(dim=1).nonzero(as_tuple=True)
    if not len(candidates):
        return candidates, candidates, boxes.new_zeros(0)
    overlaps = box_iou(boxes[candidates], known)  # (c, n)
    score = (objectness[candidates].sigmoid() * person[candidates].sigmoid()).sqrt()
    cost = -score.clamp(min=1e-8).log()[:, None] - _COST_OF_OVERLAP * (overlaps + 1e-8).log()
    cost = cost + _COST_OUTSIDE * ~(in_box & near)[candidates]
    chosen = torch.zeros_like(overlaps, dtype=torch.bool)
    dynamic_ks = overlaps.topk(min(_CANDIDATES, len(candidates)), dim=0).values.sum(dim=0).int().clamp(min=1)
    for column, dynamic_k in enumerate(dynamic_ks.tolist()):
        chosen[cost[:, column].topk(dynamic_k, largest=False).indices, column] = True
    twice = chosen.sum(dim=1) > 1  # assigned to the person with the lowest cost
    chosen[twice] = functional.one_hot(cost[twice].argmin(dim=1), len(known)).bool()
    rows, whose = chosen.nonzero(as_tuple=True)
    return candidates[rows], whose, overlaps[rows, whose]


def _inside(points: Tensor, boxes: Tensor) -> Tensor:
    """`(p, n)`: which of the points `(p, 2)` are inside which of the boxes `(n, 4)`."""
    return ((points[:, None] > boxes[:, :2]) & (points[:, None] < boxes[:, 2:])).all(dim=2)


def _overlap_of_pairs(a: Tensor, b: Tensor) -> Tensor:
    """IoU `(p,)` of each box in `a` with the same row of `b`, with gradients."""
    shared = (torch.minimum(a[:, 2:], b[:, 2:]) - torch.maximum(a[:, :2], b[:, :2])).clamp(min=0).prod(dim=1)
    areas = (a[:, 2:] - a[:, :2]).prod(dim=1) + (b[:, 2:] - b[:, :2]).prod(dim=1)
    return shared / (areas - shared + 1e-9)
