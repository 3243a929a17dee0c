"""A second opinion on a teacher's joints: predictions of a bundle's pose network, once it is better than its teacher.

A development tool: `python -m posewire_models.training.second_opinion LINES IMAGES --bundle nano --out LINES`. It reads
the output of `posewire_models.training.teachers` and writes the same lines with other joints: the mean of the two
networks if they agree; else the bundle's if it is sure, or none. Training on a network's sure predictions, with harder
crops than those it predicted on, is what Xie et al. (CVPR 2020) call a noisy student.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np

from posewire.array_types import Float32s
from posewire.joints import COCO17, JointSet
from posewire_models.bundle import load_bundle
from posewire_models.frames import Frame
from posewire_models.stages import PoseEstimator
from posewire_models.training.failures import expected_failures
from posewire_models.training.pictures import read_rgb
from posewire_models.training.readers.teacher import SURE_OF_A_JOINT, SURE_OF_A_PERSON, teacher_lines
from posewire_models.training.teachers import AGREE_WITHIN

__all__ = ["joints_to_learn", "main", "with_second_opinion"]

_log = logging.getLogger(__name__)

_SURE_ALONE = 0.6
"""Joints of the second network with at least this score count without the teacher. Where MoveNet is not sure, 67 to
94 % of nano's joints (version 8) with a score of 0.5 or more are within 0.2 of the torso from a held-out label; of
MoveNet's, 26 to 63 %."""


def joints_to_learn(teacher: Float32s, second: Float32s, side: float) -> Float32s:
    """The joints of one person to train on.

    Args:
        teacher: `(k, 3)` x, y, score of the first network.
        second: `(k, 3)` of the second one.
        side: longer side of the person's box, in the same unit.

    Returns:
        `(k, 3)`: the mean where both are sure and agree within a share of `side`, else the second one's if it is very
        sure; a score of 0 otherwise.
    """
    near = np.linalg.norm(teacher[:, :2] - second[:, :2], axis=1) <= AGREE_WITHIN * side
    agreed = near & (teacher[:, 2] >= SURE_OF_A_JOINT)
    alone = ~agreed & (second[:, 2] >= _SURE_ALONE)
    said = np.where(agreed[:, None], (teacher + second) / 2, second)
    score = np.where(agreed, teacher[:, 2], np.where(alone, second[:, 2], 0))
    joints: Float32s = np.concatenate([said[:, :2], score[:, None]], axis=1).astype(np.float32)
    return joints


def with_second_opinion(
    record: dict[str, Any], images: Path, pose: PoseEstimator, joints: JointSet
) -> dict[str, Any] | None:
    """A teacher's line with its people's joints replaced by those from `joints_to_learn`.

    Args:
        record: the line.
        images: folder of its picture.
        pose: the second network.
        joints: joint set of that network.

    Returns:
        the new line, or None if the picture cannot be read.
    """
    seen = [row for row, one in enumerate(record["people"]) if one["given"] >= 0 or one["box"][4] >= SURE_OF_A_PERSON]
    if not seen:
        return record
    pixels = read_rgb(images / record["picture"])
    if pixels is None:
        return None
    boxes = np.array([record["people"][row]["box"][:4] for row in seen], np.float32)
    people = list(record["people"])
    for row, box, answer in zip(seen, boxes, joints.convert(pose([Frame(pixels)], [boxes])[0], COCO17), strict=True):
        teacher = np.array(people[row]["joints"] or np.zeros((len(COCO17), 3)), np.float32)
        side = float(max(box[2] - box[0], box[3] - box[1]))
        people[row] = people[row] | {"joints": joints_to_learn(teacher, answer, side).round(3).tolist()}
    return record | {"people": people}


def main() -> None:
    """Write a teacher's lines again, with a second opinion on every joint."""
    parser = argparse.ArgumentParser(prog="python -m posewire_models.training.second_opinion", description=main.__doc__)
    parser.add_argument("lines", type=Path, help="labels written by posewire_models.training.teachers")
    parser.add_argument("images", type=Path, help="folder of the labelled pictures")
    parser.add_argument("--bundle", default="nano", help="name or folder of the bundle whose pose network is asked")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    parser.add_argument("--out", type=Path, required=True, help="file for the new labels (JSON lines)")
    arguments = parser.parse_args()
    if arguments.out.resolve() == arguments.lines.resolve():
        parser.error("--out must be another file than the lines that are read")
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    with expected_failures():
        _write(arguments.lines, arguments.images, arguments.bundle, arguments.device, arguments.out)


def _write(lines: Path, images: Path, bundle_name: str, device: str, out: Path) -> None:
    records = list(teacher_lines(lines))  # before anything is written
    bundle = load_bundle(bundle_name, device=device, detector="none", flip_test=True)
    with out.open("w") as opened:
        for record in records:
            opinion = with_second_opinion(record, images, bundle.pose, bundle.joint_set)
            if opinion is None:
                _log.warning("%s cannot be read as a picture; its line is left out", images / record["picture"])
            else:
                opened.write(json.dumps(opinion) + "\n")


if __name__ == "__main__":
    main()
