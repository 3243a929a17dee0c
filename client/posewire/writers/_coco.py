"""COCO results, as evaluated by pycocotools."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from posewire._inputs import check_finite, check_joints
from posewire.joints import COCO17, JointSet
from posewire.output_files import AtomicPath, ResultWriter, write_json
from posewire.results import FrameResult, Person

__all__ = ["CocoResultsWriter"]


class CocoResultsWriter(ResultWriter):
    """Results as a COCO results file, which pycocotools reads.

    A list of objects with `image_id`, `category_id` (1, as in COCO, unless another is given), `keypoints` (17 times x,
    y, score), `score` and `bbox` [x, y, w, h]. Joints are converted to COCO's 17 by name. The format has no track ids
    and cannot represent frames without a result: these have no entries, and `missed` lists them.

        with CocoResultsWriter("dt.json", estimate.joint_set) as writer:
            writer.add(image_id, estimate.people)

    Args:
        path: the file, which appears when the writer is closed.
        joint_set: of the results; `stream.info.joint_set`.

    Raises:
        OutputError: the file cannot be written.

    Attributes:
        missed: numbers of the frames without a result.
    """

    def __init__(self, path: str | Path, joint_set: JointSet):
        super().__init__()
        self.missed: list[int] = []
        self._path = Path(path)
        # Find out now, not after hours of work, that the folder cannot be written to.
        AtomicPath(self._path).discard()
        self._joint_set = joint_set
        self._entries: list[dict[str, Any]] = []

    def write(self, result: FrameResult) -> None:
        """Add one frame; its number is the `image_id`.

        Raises:
            InvalidSettings: as in `add`.
        """
        self._check_open()
        if result.tracked:
            self.add(result.frame, result.people)
        else:
            self.missed.append(result.frame)

    def add(self, image_id: int, people: Sequence[Person], *, category_id: int = 1) -> None:
        """Add the people of one picture; `category_id` is the id of people in the ground truth.

        Raises:
            InvalidSettings: they have another number of joints than `joint_set`, or values that are not finite.
        """
        self._check_open()
        check_joints(people, self._joint_set)
        check_finite(people)
        if not people:
            return
        converted = self._joint_set.convert(np.stack([person.joints for person in people]), COCO17)
        for person, joints in zip(people, converted, strict=True):
            self._entries.append(
                {
                    "image_id": image_id,
                    "category_id": category_id,
                    "keypoints": [round(value, 4) for value in joints.reshape(-1).tolist()],
                    "score": round(person.score, 6),
                    "bbox": [round(value, 3) for value in person.box.tolist()],
                }
            )

    def _finish(self) -> None:
        write_json(self._path, self._entries)

    def _give_up(self) -> None:
        self._entries.clear()
