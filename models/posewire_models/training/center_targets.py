"""Targets and loss of the centre detector.

Source: "Objects as Points" (Zhou et al., 2019), section 3: a Gaussian around each centre, whose deviation depends on
the box's size, and the penalty-reduced focal loss. Sizes and offsets are learned in a small Gaussian around the centre
instead of in one cell, weighted by it, with a GIoU loss (as in "Training-Time-Friendly Network", Liu et al., 2020):
this gives more signal from few pictures.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from posewire.array_types import Float32s
from posewire_models.center_detector import CenterMaps

__all__ = ["CenterTargets", "center_loss", "center_targets"]

_REACH = 0.54
"""Three deviations of the Gaussian are this share of half the box's side, as in TTFNet (alpha)."""


@dataclass(frozen=True)
class CenterTargets:
    """Targets of a batch.

    Attributes:
        heat: `(b, 1, h, w)` Gaussians of height 1 at the centres.
        valid: `(b, 1, h, w)` 0 where it is unknown whether there is a person, 1 elsewhere.
        boxes: `(b, 4, h, w)` x1, y1, x2, y2, in cells, of the person that a cell should predict.
        weights: `(b, h, w)` weight of the cell's box in the loss.
    """

    heat: Tensor
    valid: Tensor
    boxes: Tensor
    weights: Tensor

    def to(self, device: torch.device) -> CenterTargets:
        """The same on `device`."""
        return CenterTargets(
            self.heat.to(device), self.valid.to(device), self.boxes.to(device), self.weights.to(device)
        )


def center_targets(people: list[tuple[Float32s, Float32s]], size: tuple[int, int], stride: int) -> CenterTargets:
    """Targets for images with these boxes and ignored boxes `(n, 4)` each, in input pixels; `size` (h, w) in cells."""
    height, width = size
    heat = np.zeros((len(people), 1, height, width), np.float32)
    valid = np.ones_like(heat)
    boxes = np.zeros((len(people), 4, height, width), np.float32)
    weights = np.zeros((len(people), height, width), np.float32)
    ys, xs = np.arange(height, dtype=np.float32)[:, None], np.arange(width, dtype=np.float32)[None]
    for image, (known, ignored) in enumerate(people):
        for x1, y1, x2, y2 in ignored / stride:
            valid[image, 0, max(int(y1), 0) : int(np.ceil(y2)), max(int(x1), 0) : int(np.ceil(x2))] = 0
        cells = known / stride
        order = np.argsort(-(cells[:, 2] - cells[:, 0]) * (cells[:, 3] - cells[:, 1]))
        for box in cells[order]:  # the smallest last: larger people have enough cells anyway
            x, y = np.floor((box[:2] + box[2:]) / 2).clip(0, [width - 1, height - 1])
            deviation = np.maximum((box[2:] - box[:2]) * _REACH / 6, 0.4)
            gaussian = np.exp(-((xs - x) ** 2) / (2 * deviation[0] ** 2) - (ys - y) ** 2 / (2 * deviation[1] ** 2))
            np.maximum(heat[image, 0], gaussian, out=heat[image, 0])
            near = gaussian > 0.4
            boxes[image][:, near] = box[:, None]
            weights[image][near] = gaussian[near]
            valid[image, 0][near] = 1
    return CenterTargets(*(torch.from_numpy(part) for part in (heat, valid, boxes, weights)))


def center_loss(maps: CenterMaps, targets: CenterTargets) -> Tensor:
    """Focal loss of the centres, plus GIoU and L1 losses of the boxes (sizes and offsets in cells)."""
    hm, wh, reg = (part.float() for part in maps)
    height, width = hm.shape[2:]
    p = hm.sigmoid().clamp(1e-4, 1 - 1e-4)
    centers = targets.heat == 1
    positive = (1 - p).square() * p.log() * centers
    negative = (1 - targets.heat).pow(4) * p.square() * (1 - p).log() * (~centers) * targets.valid
    heat_loss = -(positive + negative).sum() / centers.sum().clamp(min=1)

    cell = torch.stack(
        torch.meshgrid(
            torch.arange(width, device=hm.device, dtype=hm.dtype),
            torch.arange(height, device=hm.device, dtype=hm.dtype),
            indexing="xy",
        )
    )  # (2, h, w)
    middle = cell + reg
    half = wh.clamp(min=0.05) / 2
    predicted = torch.cat([middle - half, middle + half], dim=1)  # (b, 4, h, w)
    counted = targets.weights > 0
    weights = targets.weights[counted]
    total = weights.sum().clamp(min=1)
    wanted, got = (part.permute(0, 2, 3, 1)[counted] for part in (targets.boxes, predicted))
    overlap_loss = (generalized_box_iou_loss(got, wanted) * weights).sum() / total
    size = (wanted[:, 2:] - wanted[:, :2]) - wh.permute(0, 2, 3, 1)[counted]
    size_loss = (size.abs().sum(dim=1) * weights).sum() / total
    loss: Tensor = heat_loss + 2.0 * overlap_loss + 0.05 * size_loss
    return loss
