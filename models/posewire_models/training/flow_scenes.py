"""Pairs of frames of synthetic scenes, with the flow and the joints of the people in them."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from posewire.synth import PRESETS, Scene, SceneConfig

__all__ = ["HELD_OUT_SEEDS", "FlowScenes", "render_pairs"]

HELD_OUT_SEEDS = 1_000_000
"""Scenes of seeds from this on are never trained on."""


@dataclass(frozen=True)
class FlowScenes:
    """Pairs in memory.

    Attributes:
        first, second: `(n, h, w, 3)` uint8 RGB.
        flow: `(n, 2, h, w)` half precision, pixels.
        joints: `(n, people * k, 2)` visible joints in the first image, padded with not-a-number.
        joint_flow: `(n, people * k, 2)` their displacements.
    """

    first: Tensor
    second: Tensor
    flow: Tensor
    joints: Tensor
    joint_flow: Tensor

    def __len__(self) -> int:
        return len(self.first)


def render_pairs(size: tuple[int, int], scenes: int, pairs_a_scene: int, first_seed: int, workers: int) -> FlowScenes:
    """Render `scenes` scenes of all presets in turn at `size` (height, width), `pairs_a_scene` pairs of each."""
    with ThreadPoolExecutor(workers) as pool:
        rendered = list(pool.map(lambda number: list(_pairs(size, pairs_a_scene, first_seed, number)), range(scenes)))
    pairs = [pair for scene in rendered for pair in scene]
    most = max(len(pair[3]) for pair in pairs)
    padded = [
        [np.pad(part, ((0, most - len(part)), (0, 0)), constant_values=np.nan) for part in pair[3:5]] for pair in pairs
    ]
    return FlowScenes(
        first=torch.from_numpy(np.stack([pair[0] for pair in pairs])),
        second=torch.from_numpy(np.stack([pair[1] for pair in pairs])),
        flow=torch.from_numpy(np.stack([pair[2].transpose(2, 0, 1) for pair in pairs]).astype(np.float16)),
        joints=torch.from_numpy(np.stack([joints for joints, _ in padded])),
        joint_flow=torch.from_numpy(np.stack([moved for _, moved in padded])),
    )


_Arrays = tuple[Any, Any, Any, Any, Any]


def _pairs(size: tuple[int, int], count: int, first_seed: int, number: int) -> Iterator[_Arrays]:
    """Rendered at twice the size and halved, so that the pictures are as sharp as a camera's after its reduction."""
    height, width = size
    preset = sorted(PRESETS)[number % len(PRESETS)]
    config = SceneConfig.preset(preset, width=2 * width, height=2 * height, seed=first_seed + number, frames=500)
    scene = Scene(config)
    for index in np.random.default_rng(first_seed + number).integers(1, config.frames, size=count).tolist():
        before, after = scene[index - 1], scene[index]
        images = [cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA) for frame in (before, after)]
        # The centre of a halved pixel lies between two pixels; the flow of the upper left of them is near enough.
        flow = after.truth.flow[::2, ::2] / 2
        seen = before.truth.joints[..., 2] == 2
        points = before.truth.joints[seen][:, :2]
        moved = after.truth.flow_field.at(points) / 2
        yield images[0], images[1], flow, (points - 0.5) / 2, moved
