"""Settings of the tracker."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["LEAST_ELAPSED", "LONGEST_GAP", "MOST_ELAPSED", "Similarity", "TrackerConfig"]

LONGEST_GAP = 3600.0
"""Intervals of the camera, two minutes at 30 frames a second: after that, a place does not say who stands there."""

# Bounds on `elapsed`, in intervals of the camera. Below the first one displacements are mostly noise; the second one
# keeps the arithmetic finite.
LEAST_ELAPSED, MOST_ELAPSED = 0.5, 1e6


class Similarity(StrEnum):
    """How alike a new pose and a tracked instance are (section 3.2)."""

    BBOX = "bbox"
    POSE = "pose"
    FLOW = "flow"
    MULTI_FLOW = "multi-flow"


@dataclass(frozen=True)
class TrackerConfig:
    """What Algorithm 1 leaves open, and the paper's thresholds.

    Attributes:
        similarity: S_Bbox, S_Pose, S_Flow or S_Multi-flow.
        propagation: whether flow boxes are united with the detector's (joint propagation).
        queue_length: L_Q in intervals of the camera (frames, where none is missing); Q holds 5,000 people at most. A
            person lost for less than that is linked again by multi-flow. The paper does not give it.
        box_score_threshold: detector boxes with a lower score are dropped (paper: 0.5). Our detectors report none below
            0.1 by themselves.
        joint_score_threshold: joints of at least this score are confident, others do not count (paper: 0.4). A pose
            with fewer than three confident joints gets no fresh id.
        box_nms_iou: IoU above which the lower of two boxes is dropped. The paper does not give it.
        pose_nms_oks: OKS above which the lower of two poses is dropped; 1 switches pose NMS off.
        match_threshold: least similarity of a match. The paper does not give it.
        propagation_threshold: least mean joint score of a person whose joints are propagated, and of a pose that is
            believed in a flow box. The paper does not give it.
        detect_every: the detector runs on every n-th frame; between them the flow boxes carry on alone. When the scores
            of their poses do not hold, it runs sooner, see `Tracker.detector_due`.
        max_people: at most so many boxes a frame are passed on to the pose network.

    Raises:
        ValueError: a value is out of range; the message names the field, the value, the range and the remedy.
    """

    similarity: Similarity = Similarity.MULTI_FLOW
    propagation: bool = True
    queue_length: int = 15
    box_score_threshold: float = 0.5
    joint_score_threshold: float = 0.4
    box_nms_iou: float = 0.5
    pose_nms_oks: float = 0.7
    match_threshold: float = 0.1
    propagation_threshold: float = 0.3
    detect_every: int = 1
    max_people: int = 50

    def __post_init__(self) -> None:
        if not isinstance(self.similarity, Similarity):
            known = ", ".join(Similarity)
            raise ValueError(f"similarity is {self.similarity!r}; choose one of {known}")
        for name in (
            "box_score_threshold",
            "joint_score_threshold",
            "box_nms_iou",
            "pose_nms_oks",
            "match_threshold",
            "propagation_threshold",
        ):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0.0 <= value <= 1.0):
                raise ValueError(f"{name} is {value}; it must lie in 0..1")
        for name in ("queue_length", "detect_every", "max_people"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise ValueError(f"{name} is {value!r}; it must be a whole number")
            if not 1 <= value <= 1000:
                raise ValueError(f"{name} is {value}; it must lie in 1..1000")
        if self.detect_every > 1 and not self.propagation:
            raise ValueError(
                f"detect_every is {self.detect_every} while propagation is off, so nobody would be found between two "
                "runs of the detector; switch propagation on or set detect_every to 1"
            )

    @property
    def needs_flow(self) -> bool:
        """Whether the tracker makes use of a flow field at all."""
        return self.propagation or self.similarity in (Similarity.FLOW, Similarity.MULTI_FLOW)
