"""Pictures of results that show how a run is doing."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor
from torchvision.utils import make_grid

from posewire.joints import JointSet

__all__ = ["draw_boxes", "draw_poses", "sheet"]

_SEEN = 0.2
_COLOURS = ((64, 160, 255), (255, 128, 0), (96, 224, 96))  # left, right, middle


def draw_poses(crops: Tensor, joints: Tensor, joint_set: JointSet) -> Tensor:
    """Crops `(n, 3, h, w)` 0..255 with skeletons `(n, k, 3)` of joints scored above 0.2, uint8, at twice the size."""
    drawn = []
    for crop, pose in zip(crops, joints.cpu().numpy(), strict=False):
        canvas = _canvas(crop)
        points = [tuple(np.rint(2 * joint[:2] + 0.5).astype(int).tolist()) for joint in pose]
        for a, b in joint_set.edges:
            if min(pose[a, 2], pose[b, 2]) > _SEEN:
                side = _COLOURS[_side(joint_set.names[a], joint_set.names[b])]
                cv2.line(canvas, points[a], points[b], side, 2, cv2.LINE_AA)
        drawn.append(torch.from_numpy(canvas).permute(2, 0, 1))
    return torch.stack(drawn)


def draw_boxes(images: Tensor, boxes: list[Tensor]) -> Tensor:
    """Images `(n, 3, h, w)` 0..255 with boxes `(m, 4)` xyxy each, uint8, at twice the size."""
    drawn = []
    for image, of_image in zip(images, boxes, strict=True):
        canvas = _canvas(image)
        for x1, y1, x2, y2 in (2 * of_image.cpu() + 0.5).round().int().tolist():
            cv2.rectangle(canvas, (x1, y1), (x2, y2), _COLOURS[2], 2)
        drawn.append(torch.from_numpy(canvas).permute(2, 0, 1))
    return torch.stack(drawn)


def sheet(tiles: Tensor, columns: int = 16) -> Tensor:
    """Tiles `(n, 3, h, w)` in rows of `columns`: one picture `(3, rows * h, columns * w)`."""
    grid: Tensor = make_grid(tiles, columns, padding=0)
    return grid


def _canvas(image: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    pixels = image.clamp(0, 255).byte().permute(1, 2, 0).cpu().numpy()
    doubled = cv2.resize(pixels, None, fx=2, fy=2, interpolation=cv2.INTER_LINEAR)
    return np.ascontiguousarray(doubled).astype(np.uint8, copy=False)


def _side(a: str, b: str) -> int:
    if a.startswith("left") and b.startswith("left"):
        return 0
    return 1 if a.startswith("right") and b.startswith("right") else 2
