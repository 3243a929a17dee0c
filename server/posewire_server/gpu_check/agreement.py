"""How far results on a device are from those of the CPU in float32, in pixels of the frame."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from posewire.synth import Scene, SceneConfig
from posewire_models.bundle import LoadedBundle, load_bundle
from posewire_models.frames import Frame

__all__ = ["Agreement", "Shown", "agreement", "compare_with_cpu", "drawn_people"]

# Joints of which the CPU is less sure are noise in both.
_SURE = 0.3
_SAME_PERSON_IOU = 0.5

Floats = npt.NDArray[np.float32]


class Shown(NamedTuple):
    """A picture, and the people in it."""

    pixels: npt.NDArray[np.uint8]
    boxes: Floats
    """`(n, 4)` xyxy."""


class Agreement(NamedTuple):
    """What moved between two ways to compute.

    Attributes:
        joints: `(n,)` pixels by which each sure joint moved.
        boxes: `(m,)` pixels by which the edges of people that both found moved at most.
        people: that the first found for sure.
        lost: of them, those that the second did not.
    """

    joints: Floats
    boxes: Floats
    people: int
    lost: int


def agreement(expected: LoadedBundle, found: LoadedBundle, shown: Sequence[Shown]) -> Agreement:
    """Compare poses in the same boxes, and detections, on the same pictures."""
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


def drawn_people(count: int = 8) -> list[Shown]:
    """Pictures of drawn people before a textured background."""
    scene = Scene(SceneConfig(width=1280, height=720, people=5, frames=count * 6, seed=4))
    whole = [frame for number, frame in enumerate(scene) if number % 6 == 0]
    kept = [(frame.truth.boxes[:, 2:] - frame.truth.boxes[:, :2] > 20).all(axis=1) for frame in whole]
    return [Shown(frame.image, frame.truth.boxes[rows]) for frame, rows in zip(whole, kept, strict=True)]


def compare_with_cpu(device: torch.device, say: Callable[[str], None]) -> dict[str, Any]:
    """The nano bundle in every precision and runtime of `device` against torch on the CPU."""
    exact = load_bundle("nano", device="cpu", flow="none", runtime="torch", precision="float32")
    on_gpu = device.type == "cuda"
    runtimes = ("torch", "cuda-graphs") if on_gpu else ("torch",)
    shown = drawn_people() if on_gpu else drawn_people(1)
    figures: dict[str, Any] = {}
    say("pixels by which results move; joints: median, 95 %, 99 %, at most; boxes: median, at most; people lost")
    for runtime in runtimes:
        for precision in ("float32", "float16", "bfloat16"):
            other = load_bundle("nano", device=str(device), flow="none", runtime=runtime, precision=precision)
            moved = agreement(exact, other, shown)
            joints = [round(float(value), 3) for value in np.percentile(moved.joints, (50, 95, 99, 100))]
            boxes = [round(float(value), 3) for value in np.percentile(moved.boxes, (50, 100))]
            figures[f"{runtime} {precision}"] = {
                "joints": joints,
                "boxes": boxes,
                "people": moved.people,
                "lost": moved.lost,
            }
            say(f"{runtime:12} {precision:9} joints {joints}  boxes {boxes}  lost {moved.lost} of {moved.people}")
    return figures
