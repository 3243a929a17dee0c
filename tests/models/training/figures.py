"""Drawn stick figures with known joints: what the training tests train on where there are no real pictures."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from posewire.joints import COCO17

_COLOURS = ((230, 60, 60), (60, 200, 60), (70, 90, 230), (230, 200, 50), (200, 70, 200), (60, 210, 210))


def stick_figure(rng: np.random.Generator, side: int = 160) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float32]]:
    """A picture `(side, side, 3)` with one figure, and its COCO joints `(17, 3)`; each limb has its own colour."""
    picture = np.full((side, side, 3), rng.integers(20, 80), np.uint8)
    cx, top, unit = side / 2 + rng.uniform(-8, 8), side * 0.14, side * 0.09
    joints = np.ones((len(COCO17), 3), np.float32)

    def put(name: str, x: float, y: float) -> tuple[float, float]:
        joints[COCO17.index(name), :2] = x, y
        return x, y

    put("nose", cx, top + 0.9 * unit)
    for sign, name in ((1, "left"), (-1, "right")):
        put(f"{name}_eye", cx + sign * 0.3 * unit, top + 0.6 * unit)
        put(f"{name}_ear", cx + sign * 0.7 * unit, top + 0.7 * unit)
        x, y = put(f"{name}_shoulder", cx + sign * 1.1 * unit, top + 2.0 * unit)
        for joint in ("elbow", "wrist"):
            turn = sign * rng.uniform(0.0, 1.6)
            x, y = put(f"{name}_{joint}", x + 1.4 * unit * np.sin(turn), y + 1.4 * unit * np.cos(turn))
        x, y = put(f"{name}_hip", cx + sign * 0.7 * unit, top + 4.6 * unit)
        for joint in ("knee", "ankle"):
            turn = sign * rng.uniform(0.0, 0.5)
            x, y = put(f"{name}_{joint}", x + 1.8 * unit * np.sin(turn), y + 1.8 * unit * np.cos(turn))
    for number, (a, b) in enumerate(COCO17.edges):
        start, end = (tuple(np.rint(joints[joint, :2]).astype(int).tolist()) for joint in (a, b))
        cv2.line(picture, start, end, _COLOURS[number % len(_COLOURS)], 4, cv2.LINE_AA)
    return picture, joints


def write_coco(folder: Path, count: int, seed: int = 0) -> Path:
    """`count` stick figures as a small COCO data set: `folder/images/*.png` and the label file that is returned."""
    (folder / "images").mkdir(parents=True)
    rng = np.random.default_rng(seed)
    images, annotations = [], []
    for number in range(1, count + 1):
        picture, joints = stick_figure(rng)
        cv2.imwrite(str(folder / "images" / f"{number:06d}.png"), picture[:, :, ::-1])
        low, high = joints[:, :2].min(axis=0) - 6, joints[:, :2].max(axis=0) + 6
        box = [*low.tolist(), *(high - low).tolist()]
        keypoints = np.concatenate([joints[:, :2], np.full((17, 1), 2)], axis=1).ravel().tolist()
        images.append({"id": number, "file_name": f"{number:06d}.png", "width": 160, "height": 160})
        annotations.append(
            {
                "id": number,
                "image_id": number,
                "bbox": box,
                "area": box[2] * box[3],
                "keypoints": keypoints,
                "iscrowd": 0,
            }
        )
    file = folder / "labels.json"
    file.write_text(json.dumps({"images": images, "annotations": annotations}))
    return file
