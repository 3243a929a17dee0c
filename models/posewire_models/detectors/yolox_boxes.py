"""Decoding YOLOX's predictions to boxes, and NMS."""

from __future__ import annotations

import functools

import cv2
import torch
from torch import Tensor

from posewire_models.detectors.selection import DetectorSettings
from posewire_models.yolox_trunk import YoloxPyramid

__all__ = [
    "boxes_of",
    "cell_count",
    "cells_of",
    "decode_logits",
    "decode_yolox",
    "decode_yolox_batch",
    "nms",
]

# Cells per picture that take part in NMS if it is done for a batch: far more than there are people.
_CANDIDATES = 1000


def cell_count(input_size: tuple[int, int]) -> int:
    """Number of cells for an input of (height, width)."""
    return sum((input_size[0] // stride) * (input_size[1] // stride) for stride in YoloxPyramid.strides)


def boxes_of(predictions: Tensor, input_size: tuple[int, int]) -> Tensor:
    """Boxes `(b, cells, 4)` xyxy in input pixels from the predictions of all cells `(b, cells, >= 4)`."""
    cells, strides = cells_of(input_size, predictions.device)
    middle = (predictions[..., :2] + cells) * strides
    half = predictions[..., 2:4].exp() * strides / 2
    return torch.cat((middle - half, middle + half), dim=-1)


def decode_yolox(raw: Tensor, input_size: tuple[int, int], label: int) -> tuple[Tensor, Tensor]:
    """Boxes and scores of the cells whose best class is `label`, before NMS.

    Args:
        raw: `(1, cells, 5 + classes)`.
        input_size: (height, width) of the model's input.
        label: the class wanted.

    Returns:
        boxes `(n, 4)` xyxy in input pixels and scores `(n,)`, objectness times class score.
    """
    objectness, classes = raw[0, :, 4], raw[0, :, 5:]
    mine = classes.argmax(dim=1) == label
    return boxes_of(raw, input_size)[0, mine], objectness[mine] * classes[mine, label]


def decode_yolox_batch(raw: Tensor, input_size: tuple[int, int], label: int) -> Tensor:
    """The best candidates `(b, k, 5)`, boxes xyxy and scores, best first, of raw output `(b, cells, 5 + classes)`.

    As `decode_yolox`, with shapes that do not depend on values: cells of other classes get score 0.
    """
    scores, best = raw[:, :, 5:].max(dim=2)
    scores = torch.where(best == label, scores * raw[:, :, 4], 0.0)
    scores, cells = scores.topk(min(_CANDIDATES, scores.shape[1]))  # (b, k)
    boxes = boxes_of(raw, input_size).gather(1, cells.unsqueeze(2).expand(-1, -1, 4))
    return torch.cat((boxes, scores.unsqueeze(2)), dim=2)


def decode_logits(predictions: Tensor, input_size: tuple[int, int]) -> Tensor:
    """The best candidates `(b, k, 5)`, as in `decode_yolox_batch`, from `YoloxDetector`'s output `(b, cells, 6)`."""
    return decode_yolox_batch(
        torch.cat((predictions[..., :4], predictions[..., 4:].sigmoid()), dim=2), input_size, label=0
    )


@functools.cache  # never forgotten: CUDA graphs go on reading them
@torch.inference_mode(mode=False)  # the cached tensors are used in training too
def cells_of(input_size: tuple[int, int], device: torch.device) -> tuple[Tensor, Tensor]:
    """Column and row `(cells, 2)` and stride `(cells, 1)` of every cell, in the order of the output."""
    cells, strides = [], []
    for stride in YoloxPyramid.strides:
        rows, columns = (torch.arange(side // stride) for side in input_size)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        cells.append(torch.stack((x, y), dim=2).view(-1, 2))  # (cells of this stride, 2)
        strides.append(torch.full((y.numel(), 1), stride))
    return torch.cat(cells).float().to(device), torch.cat(strides).float().to(device)


def nms(boxes: Tensor, scores: Tensor, settings: DetectorSettings) -> tuple[Tensor, Tensor]:
    """The boxes `(n, 4)` with scores `(n,)` that remain after the settings' threshold and NMS, best first.

    Boxes that are not finite are dropped before NMS, for which a NaN box would overlap all others.
    """
    kept = (scores >= settings.score_threshold) & boxes.isfinite().all(dim=1)
    boxes, scores = boxes[kept], scores[kept]
    # By OpenCV, since torchvision takes seconds to import and our own networks do not need it.
    xywh = torch.cat((boxes[:, :2], boxes[:, 2:] - boxes[:, :2]), dim=1)
    order = cv2.dnn.NMSBoxes(xywh.tolist(), scores.tolist(), 0.0, settings.nms_iou)
    best = torch.as_tensor(order, dtype=torch.int64).flatten()
    return boxes[best], scores[best]
