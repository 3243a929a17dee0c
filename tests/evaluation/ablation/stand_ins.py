"""Networks without weights, videos of bright rectangles, and their ground truth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from posewire.array_types import Float32s
from posewire.joints import COCO17, POSETRACK15, JointSet
from posewire_evaluation.ablation.data_set import LabelledVideo
from posewire_evaluation.sequence_videos import SequenceVideo
from posewire_evaluation.sequences import PoseFrame, PoseSequence
from posewire_models.frames import Detections, FlowField, Frame
from tests.server.stand_ins import GridPose, RectangleDetector, picture


@dataclass
class CountedStages:
    """Networks for the rectangles; counts the inputs of each."""

    counts: Counter[str] = field(default_factory=Counter)
    losing: frozenset[int] = frozenset()
    """Calls of the detector that find nobody."""

    def detector(self, frames: Sequence[Frame]) -> list[Detections]:
        found = RectangleDetector()(frames)
        first = self.counts["detector"]
        self.counts["detector"] += len(frames)
        return [Detections.none() if first + row in self.losing else each for row, each in enumerate(found)]

    def flow(self, pairs: Sequence[tuple[Frame, Frame]]) -> list[FlowField]:
        self.counts["flow"] += len(pairs)
        return [FlowField(np.full((2, 3, 2), (2, 0), np.float32), before.size) for before, _ in pairs]

    def pose(self, frames: Sequence[Frame], boxes: Sequence[Float32s]) -> list[Float32s]:
        self.counts["pose"] += sum(map(len, boxes))
        return GridPose()(frames, boxes)


@dataclass(frozen=True)
class CountedNetworks:
    """Selects `CountedStages`."""

    stages: CountedStages = field(default_factory=CountedStages)
    name: str = "rectangles"
    joint_set: JointSet = COCO17

    @property
    def identities(self) -> dict[str, Any]:
        return {"detector": "rectangles", "flow": "shift", "pose": "grid"}

    def load(self) -> CountedStages:
        self.stages.counts["load"] += 1
        return self.stages


def write_pictures(folder: Path, frames: int, first: int = 0, people: int = 2) -> None:
    """Write frames of `picture` as PNG files named by number."""
    folder.mkdir(parents=True)
    for step in range(frames):
        cv2.imwrite(str(folder / f"{first + step:06d}.png"), picture(step, people))


def truth_of(frames: int, first: int = 0, people: int = 2) -> PoseSequence:
    """The poses of `GridPose` in the true rectangles."""
    found = []
    for step in range(frames):
        boxes = np.array([[10 + 60 * p + 2 * step, 60, 49 + 60 * p + 2 * step, 179] for p in range(people)], np.float32)
        joints = COCO17.convert(GridPose()([Frame(picture(step, people))], [boxes])[0], POSETRACK15)
        found.append(
            PoseFrame.of(first + step, range(1, people + 1), joints, head_sizes=np.full(people, 20.0), boxes=boxes)
        )
    return PoseSequence("walk", POSETRACK15, tuple(found))


def labelled(folder: Path, frames: int = 8) -> LabelledVideo:
    """A video and its ground truth."""
    write_pictures(folder / "walk", frames)
    return LabelledVideo(truth_of(frames), SequenceVideo(folder / "walk", tuple(range(frames))))
