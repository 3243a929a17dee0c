"""Compares results on a device with those of the CPU in float32, in pixels of the frame."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch

from posewire.array_types import Float32s, Image
from posewire.synth import Scene, SceneConfig
from posewire_models.bundle import LoadedBundle, load_bundle
from posewire_models.frames import Frame

__all__ = ["Agreement", "Shown", "agreement", "compare_with_cpu", "disagreements", "drawn_people"]

# Joints with a lower score on the CPU are noise in both.
_SURE = 0.3
_SAME_PERSON_IOU = 0.5


class Shown(NamedTuple):
    """A picture and the boxes of the people in it."""

    pixels: Image
    boxes: Float32s
    """`(n, 4)` xyxy."""


class Agreement(NamedTuple):
    """Differences between two ways of computing.

    Attributes:
        joints: `(n,)` pixels by which each sure joint moved.
        boxes: `(m,)` largest shift of an edge, in pixels, for each person that both found.
        people: number of people that the first found with certainty.
        lost: number of these that the second did not find.
    """

    joints: Float32s
    boxes: Float32s
    people: int
    lost: int


class _Bounds(NamedTuple):
    """Limits of what rounding may change, in pixels."""

    percent: float
    """Of the sure joints, those within `joint_px`; the others may jump between peaks of nearly equal height."""
    joint_px: float
    box_px: float
    """Limit for the median box."""


# Well above what a CPU shows (in a test) that crops and resizes like a GPU instead of like OpenCV: 0.003 pixels for
# joints in float32, 0.08 in float16.
_BOUNDS = {
    "float32": _Bounds(95, joint_px=0.1, box_px=0.1),
    "float16": _Bounds(95, joint_px=0.5, box_px=0.5),
    "bfloat16": _Bounds(95, joint_px=15.0, box_px=4.0),
}
# A few people may be right at the detector's threshold.
_MOST_LOST_SHARE = 0.05


def agreement(expected: LoadedBundle, found: LoadedBundle, shown: Sequence[Shown]) -> Agreement:
    """Compare detections, and poses in the same boxes, on the same pictures."""
    frames, boxes = [Frame(each.pixels) for each in shown], [each.boxes for each in shown]
    poses = [np.concatenate(bundle.pose(frames, boxes)) for bundle in (expected, found)]
    sure = poses[0][..., 2] > _SURE
    moved = np.linalg.norm(poses[1][..., :2] - poses[0][..., :2], axis=2)[sure]
    edges, people, lost = [], 0, 0
    for one, other in zip(expected.detector(frames), found.detector(frames), strict=True):
        mine = one.boxes[one.scores > 0.5]
        people += len(mine)
        for box in mine:
            apart = np.abs(other.boxes - box).max(axis=1) if len(other) else np.zeros(0, np.float32)
            if not len(apart) or apart.min() > (1 - _SAME_PERSON_IOU) * (box[2:] - box[:2]).max():
                lost += 1
            else:
                edges.append(apart.min())
    return Agreement(moved.astype(np.float32), np.array(edges, np.float32), people, lost)


def disagreements(moved: Agreement, precision: str) -> list[str]:
    """Descriptions of differences that are larger than that precision explains; empty if there are none."""
    bounds, found = _BOUNDS[precision], []
    if not len(moved.joints) or not moved.people:
        found.append("the CPU finds nobody to compare with")
    if moved.lost > max(1, _MOST_LOST_SHARE * moved.people):
        found.append(f"{moved.lost} of {moved.people} people are lost")
    for name, pixels, percent, most_px in (
        ("joints", moved.joints, bounds.percent, bounds.joint_px),
        ("boxes", moved.boxes, 50, bounds.box_px),
    ):
        if len(pixels) and not (px := float(np.percentile(pixels, percent))) <= most_px:  # also true for NaN
            found.append(f"{percent} % of the {name} stay within {px:.2f} px only, not within {most_px:g}")
    return found


def drawn_people(count: int = 8) -> list[Shown]:
    """Pictures of drawn people in front of a textured background."""
    scene = Scene(SceneConfig(width=1280, height=720, people=5, frames=count * 6, seed=4))
    whole = [scene[number] for number in range(0, len(scene), 6)]
    kept = [(frame.truth.boxes[:, 2:] - frame.truth.boxes[:, :2] > 20).all(axis=1) for frame in whole]
    return [Shown(frame.image, frame.truth.boxes[rows]) for frame, rows in zip(whole, kept, strict=True)]


def compare_with_cpu(device: torch.device, say: Callable[[str], None]) -> dict[str, Any]:
    """The nano bundle in every precision and runtime of `device` against torch on the CPU; `error`: what differs."""
    exact = load_bundle("nano", device="cpu", flow="none", runtime="torch", precision="float32")
    on_gpu = device.type == "cuda"
    runtimes = ("torch", "cuda-graphs") if on_gpu else ("torch",)
    shown = drawn_people() if on_gpu else drawn_people(1)
    figures: dict[str, Any] = {}
    errors = []
    say("pixels by which results move; joints: median, 95 %, 99 %, at most; boxes: median, at most; people lost")
    for runtime in runtimes:
        for precision in _BOUNDS:
            other = load_bundle("nano", device=str(device), flow="none", runtime=runtime, precision=precision)
            moved = agreement(exact, other, shown)
            joints, boxes = _percentiles(moved.joints, (50, 95, 99, 100)), _percentiles(moved.boxes, (50, 100))
            figures[f"{runtime} {precision}"] = {
                "joints": joints,
                "boxes": boxes,
                "people": moved.people,
                "lost": moved.lost,
            }
            say(f"{runtime:12} {precision:9} joints {joints}  boxes {boxes}  lost {moved.lost} of {moved.people}")
            errors += [f"{runtime} {precision}: {each}" for each in disagreements(moved, precision)]
    return figures | ({"error": "; ".join(errors)} if errors else {})


def _percentiles(pixels: Float32s, percents: Sequence[float]) -> list[float | None]:
    """None: NaN or infinite, which JSON does not have."""
    found = np.percentile(pixels, percents).tolist() if len(pixels) else []
    return [round(value, 3) if math.isfinite(value) else None for value in found]
