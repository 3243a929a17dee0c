"""Settings of the tracker."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

__all__ = ["LEAST_ELAPSED", "LONGEST_GAP", "MOST_ELAPSED", "Similarity", "TrackerConfig"]

LONGEST_GAP = 3600.0
"""In frame intervals, two minutes at 30 frames a second: after a longer gap, positions do not identify people."""

# Bounds on `elapsed`, in frame intervals. Below the first, displacements are mostly noise; the second keeps the
# arithmetic finite.
LEAST_ELAPSED, MOST_ELAPSED = 0.5, 1e6


class Similarity(StrEnum):
    """How the similarity of a new pose and a tracked instance is measured (section 3.2)."""

    BBOX = "bbox"
    POSE = "pose"
    FLOW = "flow"
    MULTI_FLOW = "multi-flow"


@dataclass(frozen=True)
class TrackerConfig:
    """The paper's thresholds, and what Algorithm 1 leaves open.

    Attributes:
        similarity: S_Bbox, S_Pose, S_Flow or S_Multi-flow.
        propagation: whether flow boxes are added to the detector's (joint propagation).
        queue_length: L_Q in frame intervals of the camera, that is, in frames if none is missing; Q holds at most 5,000
            instances. Multi-flow recovers a person who was lost for less than that. Not given in the paper.
        box_score_threshold: detector boxes with a lower score are dropped (paper: 0.5). Our detectors report none below
            0.1 in any case.
        joint_score_threshold: joints with at least this score are confident, others do not count (paper: 0.4). A pose
            with fewer than three confident joints gets no new id, unless the caller gave its box.
        box_nms_iou: IoU above which the lower-ranked of two boxes is dropped. Not given in the paper.
        pose_nms_oks: OKS above which the lower-ranked of two poses is dropped; 1 switches pose NMS off.
        match_threshold: lowest similarity of a match. Not given in the paper.
        propagation_threshold: lowest mean joint score of a person whose joints are propagated, and of a pose that is
            accepted in a flow box. Not given in the paper.
        detect_every: the detector runs on every n-th frame; in between, flow boxes carry people on. If the scores of
            their poses fall, it runs sooner, see `Tracker.detector_due`.
        max_people: maximum number of boxes per frame that are passed on to the pose network.

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
        """Whether the tracker uses flow fields."""
        return self.propagation or self.similarity in (Similarity.FLOW, Similarity.MULTI_FLOW)
