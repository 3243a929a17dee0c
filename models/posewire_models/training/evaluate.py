"""Accuracy of a bundle on held-out data, measured through the stages that users run.

`python -m posewire_models.training.evaluate nano --data-root DIR` prints it as JSON: keypoint AP (boxes given) and PCK
of the pose network on the held-out parts of the sources of `nano-pose`, also with the flip test as in the paper, AP of
the detector on those of `nano-detector`, end-point errors of the flow. `--pose-config` and `--detector-config` name
other training configs, packaged or not; data sets that they hold out completely (`[[held_out]]`) are included.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from posewire.array_types import Float32s
from posewire.joints import COCO17, NANO19, JointSet
from posewire_models.bundle import find_bundle, load_bundle
from posewire_models.flow_estimators import DisFlow, DisSettings
from posewire_models.frames import Frame
from posewire_models.manifest import read_manifest
from posewire_models.stages import Detector, FlowEstimator, PoseEstimator
from posewire_models.training.command import find_config
from posewire_models.training.config import build, read_toml
from posewire_models.training.detector_kinds import DETECTOR_KINDS
from posewire_models.training.detector_task import DetectorTrainConfig
from posewire_models.training.failures import expected_failures
from posewire_models.training.flow_scenes import HELD_OUT_SEEDS, FlowScenes, render_pairs
from posewire_models.training.measures import average_precision, matches, pck
from posewire_models.training.people import Picture
from posewire_models.training.pictures import read_rgb
from posewire_models.training.pose_task import PoseTrainConfig
from posewire_models.training.sources import SourceConfig, held_out_pictures

__all__ = [
    "best_threshold",
    "coco_keypoint_ap",
    "detector_figures",
    "flow_figures",
    "main",
    "pose_figures",
]

_SEEN = 0.2
"""Joints with at least this score contribute to the score of a pose (published evaluation code)."""

_REMEDY = "give one held_out_every or held_out_from, or the config a [[held_out]] entry"


def pose_figures(
    pose: PoseEstimator,
    joints: JointSet,
    sources: Sequence[SourceConfig],
    root: Path,
    whole: Sequence[SourceConfig] = (),
) -> dict[str, float]:
    """PCK@0.2 of the torso per source, and COCO's keypoint AP where people have COCO's joints; boxes are given.

    Args:
        pose: what is measured.
        joints: joint set of its results.
        sources: data sets whose held-out parts are used.
        root: what their paths are relative to.
        whole: data sets that are held out completely.

    Raises:
        LabelFileError: a label file is missing or faulty.
        ValueError: nobody is held out.
    """
    figures: dict[str, float] = {}
    for name, held_out in held_out_pictures(sources, whole, root, NANO19).items():
        found = _poses(pose, [one for one in held_out if one.people])
        if not found:
            continue
        people = [torch.from_numpy(joints.convert(poses, NANO19)) for _, poses in found]
        labels = [torch.from_numpy(np.stack([one.joints for one in picture.people])) for picture, _ in found]
        figures[f"{name} pck"] = pck(torch.cat(people), torch.cat(labels), NANO19)
        if name.startswith("coco"):
            ap, ap50, ap75 = coco_keypoint_ap(found, joints)
            figures |= {f"{name} keypoint ap": ap, f"{name} keypoint ap50": ap50, f"{name} keypoint ap75": ap75}
    if not figures:
        raise ValueError(f"no held-out picture of the pose net's sources has people and can be read; {_REMEDY}")
    return figures


def coco_keypoint_ap(found: Sequence[tuple[Picture, Float32s]], joints: JointSet) -> tuple[float, float, float]:
    """AP, AP50 and AP75 by COCO's own evaluation.

    Args:
        found: each picture with the poses `(n, k, 3)` found in the boxes of its people.
        joints: joint set of the poses.
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    annotations: list[dict[str, Any]] = []
    results: list[dict[str, Any]] = []
    for picture, poses in found:
        for person, pose in zip(picture.people, joints.convert(poses, COCO17), strict=True):
            x1, y1, x2, y2 = person.box.tolist()
            labels = person.joints[: len(COCO17)].copy()
            labels[:, 2] = 2 * (labels[:, 2] > 0)
            labels[labels[:, 2] == 0] = 0
            shared = {"image_id": picture.key, "category_id": 1}
            annotations.append(
                shared
                | {
                    "id": len(annotations) + 1,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": person.area,
                    "iscrowd": 0,
                    "keypoints": labels.ravel().tolist(),
                    "num_keypoints": person.labelled,
                }
            )
            if person.labelled:
                seen = pose[:, 2][pose[:, 2] >= _SEEN]
                score = float(seen.mean()) if len(seen) else 0.0
                results.append(shared | {"keypoints": pose.ravel().tolist(), "score": score})
    truth = COCO()
    truth.dataset = {
        "info": {},
        "images": [{"id": picture.key} for picture, _ in found],
        "annotations": annotations,
        "categories": [{"id": 1, "name": "person"}],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "keypoints")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0]), float(evaluation.stats[1]), float(evaluation.stats[2])


def detector_figures(
    detector: Detector, sources: Sequence[SourceConfig], root: Path, whole: Sequence[SourceConfig] = ()
) -> dict[str, float]:
    """AP50 and AP75 of people on held-out pictures in which everybody is labelled, and the best threshold.

    Arguments and errors as for `pose_figures`.
    """
    found, truths = [], []
    for pictures in held_out_pictures(sources, whole, root, COCO17).values():
        for picture in pictures:
            pixels = read_rgb(picture.path, picture.size) if picture.complete else None
            if pixels is None:
                continue
            (people,) = detector([Frame(pixels)])
            edges = people.boxes + 0.5  # labels: origin at the corner; frames: centre of the first pixel
            found.append(np.concatenate([edges, people.scores[:, None]], axis=1))
            truths.append((np.array([one.box for one in picture.people], np.float32).reshape(-1, 4), picture.ignored))
    if not found:
        raise ValueError(f"no held-out picture of the detector's sources tells of everybody and can be read; {_REMEDY}")
    threshold, best = best_threshold(found, truths)
    return {
        "pictures": float(len(found)),
        "people": float(sum(len(boxes) for boxes, _ in truths)),
        "ap50": average_precision(found, truths, iou=0.5),
        "ap75": average_precision(found, truths, iou=0.75),
        "best f1": best,
        "at threshold": threshold,
    }


def flow_figures(flow: FlowEstimator, scenes: FlowScenes) -> dict[str, float]:
    """End-point error in pixels at the visible joints of people in synthetic scenes.

    For comparison, also the error of OpenCV's DIS, preset medium, on frames at full size, and the mean displacement,
    which is the error of assuming no motion.
    """
    dis = DisFlow(DisSettings(preset="medium", width=scenes.first.shape[2]))
    ours: list[Float32s] = []
    theirs: list[Float32s] = []
    lengths: list[Float32s] = []
    for row in range(len(scenes)):
        frames = (Frame(scenes.first[row].numpy()), Frame(scenes.second[row].numpy()))
        known = scenes.joints[row].isfinite().all(dim=1)
        points, moved = scenes.joints[row][known].numpy(), scenes.joint_flow[row][known].numpy()
        for errors, estimator in ((ours, flow), (theirs, dis)):
            (field,) = estimator([frames])
            errors.append(np.linalg.norm(field.at(points) - moved, axis=1))
        lengths.append(np.linalg.norm(moved, axis=1))
    named = {"joint epe px": ours, "joint epe px of dis medium": theirs, "joint displacement px": lengths}
    return {name: float(np.concatenate(values).mean()) for name, values in named.items()}


def best_threshold(found: list[Float32s], truths: list[tuple[Float32s, Float32s]]) -> tuple[float, float]:
    """The score threshold with the highest F1 at IoU 0.5, and that F1; arguments as for `average_precision`."""
    scores, hits, people = matches(found, truths, iou=0.5)
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(hits[order])
    f1 = 2 * right / (np.arange(1, len(right) + 1) + people)
    best = int(f1.argmax()) if len(f1) else 0
    return (float(scores[order][best]), float(f1[best])) if len(f1) else (0.0, 0.0)


def _poses(pose: PoseEstimator, pictures: Sequence[Picture]) -> list[tuple[Picture, Float32s]]:
    """Each readable picture with the poses `(n, k, 3)` found in the boxes of its people."""
    found = []
    for picture in pictures:
        pixels = read_rgb(picture.path, picture.size)
        if pixels is not None:
            boxes = np.array([person.box for person in picture.people], np.float32)
            found.append((picture, pose([Frame(pixels)], [boxes])[0]))
    return found


def main(args: Sequence[str] | None = None) -> None:
    """Measure a bundle and print its figures as JSON; faulty input ends in one line and exit status 1."""
    parser = argparse.ArgumentParser(
        prog="python -m posewire_models.training.evaluate",
        description="Measure a bundle and print its figures as JSON.",
    )
    parser.add_argument("bundle", help="name or folder of the bundle")
    parser.add_argument("--data-root", type=Path, required=True, help="folder that the configs' paths are relative to")
    parser.add_argument(
        "--pose-config",
        type=Path,
        default=Path("nano-pose"),
        help="config whose held-out people poses are measured on: a TOML file or a packaged one (default: nano-pose)",
    )
    parser.add_argument(
        "--detector-config",
        type=Path,
        default=Path("nano-detector"),
        help="config whose held-out people boxes are measured on (default: nano-detector)",
    )
    parser.add_argument(
        "--flow", default="bundle", help="flow estimator to measure, as for posewire serve (default: bundle)"
    )
    parser.add_argument(
        "--flow-size",
        type=int,
        nargs=2,
        default=(384, 512),
        metavar=("H", "W"),
        help="frame size of the synthetic scenes (default: 384 512)",
    )
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    arguments = parser.parse_args(args)
    logging.basicConfig(level=logging.WARNING)
    with expected_failures():
        figures = _measure(arguments)
    print(json.dumps(figures, indent=2))


def _measure(arguments: argparse.Namespace) -> dict[str, dict[str, float]]:
    people = _held_out(arguments.pose_config, PoseTrainConfig, arguments.data_root)
    pictures = _held_out(arguments.detector_config, DetectorTrainConfig, arguments.data_root)
    has_detector = read_manifest(find_bundle(arguments.bundle)).detector is not None
    detector = "bundle" if has_detector else "none"
    device = arguments.device
    bundle = load_bundle(arguments.bundle, device=device, detector=detector, flow=arguments.flow, flip_test=False)
    flipped = load_bundle(arguments.bundle, device=device, detector="none", flow="none", flip_test=True)
    figures: dict[str, dict[str, float]] = {
        "pose": pose_figures(bundle.pose, bundle.joint_set, **people),
        "pose with the flip test": pose_figures(flipped.pose, flipped.joint_set, **people),
    }
    if has_detector:
        figures["detector"] = detector_figures(bundle.detector, **pictures)
    if bundle.manifest.cpu_detector is not None:
        on_cpu = load_bundle(arguments.bundle, device="cpu", detector="auto", flow="none")
        figures["detector on a CPU"] = detector_figures(on_cpu.detector, **pictures)
    for name, divisor in (("flow", 1.0), ("flow at a third of the rate", 3.0)):
        scenes = render_pairs(
            tuple(arguments.flow_size),
            scenes=12,
            pairs_a_scene=4,
            first_seed=HELD_OUT_SEEDS,
            workers=2,
            rate_divisors=(divisor,),
        )
        figures[name] = flow_figures(bundle.flow, scenes)
    return figures


def _held_out(config: Path, kind: type[PoseTrainConfig] | type[DetectorTrainConfig], root: Path) -> dict[str, Any]:
    """The held-out data of a training, as arguments of `pose_figures`.

    Args:
        config: of the training, a file or a packaged one; its architecture may make it one of the other kind.
        kind: its type if it names no architecture.
        root: what its paths are relative to.
    """
    table = read_toml(find_config(config))
    kind = (
        DetectorTrainConfig if str(table.get("architecture", kind.architecture)) in DETECTOR_KINDS else PoseTrainConfig
    )
    settings = build(kind, table, str(config))
    return {"sources": settings.sources, "whole": settings.held_out, "root": root}


if __name__ == "__main__":
    main()
