"""Pairs of frames from synthetic scenes, with the flow and the joints of the people in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from posewire.synth import PRESETS, Scene, SceneConfig

__all__ = ["HELD_OUT_SEEDS", "TRAINING_SEEDS", "FlowScenes", "render_pairs"]

TRAINING_SEEDS = 10_000
"""First seed of training scenes, which are other ones than those of the demo and the benchmark sets."""
HELD_OUT_SEEDS = 1_000_000
"""First seed of scenes that are never trained on."""


@dataclass(frozen=True)
class FlowScenes:
    """Pairs in memory.

    Attributes:
        first, second: `(n, h, w, 3)` uint8 RGB.
        flow: `(n, 2, h, w)` half precision, pixels.
        joints: `(n, people * k, 2)` visible joints in the first image, padded with NaN.
        joint_flow: `(n, people * k, 2)` their displacements.
    """

    first: Tensor
    second: Tensor
    flow: Tensor
    joints: Tensor
    joint_flow: Tensor

    def __len__(self) -> int:
        return len(self.first)


def render_pairs(
    size: tuple[int, int],
    scenes: int,
    pairs_a_scene: int,
    first_seed: int,
    workers: int,
    rate_divisors: Sequence[float] = (1.0,),
) -> FlowScenes:
    """Render pairs of consecutive frames.

    Args:
        size: (height, width).
        scenes: number of scenes, with presets in turn.
        pairs_a_scene: pairs per scene, from anywhere in it.
        first_seed: of the first scene; further scenes have the next ones.
        workers: threads.
        rate_divisors: each scene has its preset's frame rate divided by one of these: all presets by the first, then
            all by the second, and so on. Larger divisors give the large displacements of lost or dropped frames.
    """

    def render(number: int) -> list[_Arrays]:
        preset = sorted(PRESETS)[number % len(PRESETS)]
        divisor = rate_divisors[number // len(PRESETS) % len(rate_divisors)]
        config = SceneConfig.preset(preset, width=2 * size[1], height=2 * size[0], seed=first_seed + number, frames=500)
        return list(_pairs(dataclasses.replace(config, fps=config.fps / divisor), pairs_a_scene))

    with ThreadPoolExecutor(workers) as pool:
        rendered = list(pool.map(render, range(scenes)))
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


def _pairs(config: SceneConfig, count: int) -> Iterator[_Arrays]:
    """Pairs at half the rendered size, so that pictures are as sharp as a camera's reduced ones."""
    width, height = config.width // 2, config.height // 2
    scene = Scene(config)
    for index in np.random.default_rng(config.seed).integers(1, config.frames, size=count).tolist():
        before, after = scene[index - 1], scene[index]
        images = [cv2.resize(frame.image, (width, height), interpolation=cv2.INTER_AREA) for frame in (before, after)]
        # The centre of a halved pixel is between pixels; the flow of the upper left one is close enough.
        flow = after.truth.flow[::2, ::2] / 2
        seen = before.truth.joints[..., 2] == 2
        points = before.truth.joints[seen][:, :2]
        moved = after.truth.flow_field.at(points) / 2
        yield images[0], images[1], flow, (points - 0.5) / 2, moved
