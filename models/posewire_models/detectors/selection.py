"""From a detector's raw boxes to the people of a frame, for all detectors."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from posewire_models.frames import Detections

__all__ = ["DetectorSettings", "select_people"]


@dataclass(frozen=True, kw_only=True)
class DetectorSettings:
    """What a detector reports.

    Attributes:
        score_threshold: boxes below are not reported. Lower than the tracker's own threshold of 0.5, which decides.
        nms_iou: IoU above which NMS drops the weaker of two boxes, for detectors that need NMS (YOLOX's own value).
        max_people: at most this many boxes are reported per frame, the best ones.
    """

    score_threshold: float = 0.1
    nms_iou: float = 0.45
    max_people: int = 100

    def __post_init__(self) -> None:
        for name, value in (("score_threshold", self.score_threshold), ("nms_iou", self.nms_iou)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name} {value} must be in 0..1")
        if self.max_people < 1:
            raise ValueError(f"max_people {self.max_people} must be at least 1")

    def with_room_for(self, people: int) -> DetectorSettings:
        """The same settings, but with at least `people` as `max_people`."""
        return replace(self, max_people=max(self.max_people, people))


def select_people(boxes: Tensor, scores: Tensor, frame_size: tuple[int, int], settings: DetectorSettings) -> Detections:
    """The best boxes `(n, 4)` with scores `(n,)` above the threshold, clipped to the frame, best first.

    Boxes that are not finite or lie outside the frame are dropped.
    """
    height, width = frame_size
    boxes, scores = boxes.float(), scores.float()
    limits = boxes.new_tensor((width, height, width, height)) - 0.5  # the outer edges of the outermost pixels
    clipped = torch.minimum(boxes.clamp(min=-0.5), limits)
    good = (scores >= settings.score_threshold) & boxes.isfinite().all(dim=1)
    good &= (clipped[:, 2:] > clipped[:, :2]).all(dim=1)
    kept = clipped[good], scores[good].clamp(0.0, 1.0)
    best = kept[1].argsort(descending=True, stable=True)[: settings.max_people]
    return Detections(*(values[best].cpu().numpy().astype(np.float32, copy=False) for values in kept))
