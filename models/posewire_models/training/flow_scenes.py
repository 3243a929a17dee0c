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
from torch.nn.utils.rnn import pad_sequence

from posewire.array_types import Float32s
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

    def render(number: int) -> list[tuple[Any, ...]]:
        preset = sorted(PRESETS)[number % len(PRESETS)]
        divisor = rate_divisors[number // len(PRESETS) % len(rate_divisors)]
        config = SceneConfig.preset(preset, width=2 * size[1], height=2 * size[0], seed=first_seed + number, frames=500)
        return list(_pairs(dataclasses.replace(config, fps=config.fps / divisor), pairs_a_scene))

    with ThreadPoolExecutor(workers) as pool:
        rendered = list(pool.map(render, range(scenes)))
    first, second, flow, joints, joint_flow = zip(*(pair for scene in rendered for pair in scene), strict=True)
    return FlowScenes(
        first=torch.from_numpy(np.stack(first)),
        second=torch.from_numpy(np.stack(second)),
        flow=torch.from_numpy(np.stack([field.transpose(2, 0, 1) for field in flow]).astype(np.float16)),
        joints=_padded(joints),
        joint_flow=_padded(joint_flow),
    )


def _padded(points: Sequence[Float32s]) -> Tensor:
    """Arrays `(m, 2)` of points as one tensor `(n, most, 2)`, padded with NaN."""
    return pad_sequence([torch.from_numpy(each) for each in points], batch_first=True, padding_value=torch.nan)


def _pairs(config: SceneConfig, count: int) -> Iterator[tuple[Any, ...]]:
    """The fields of `FlowScenes` for each pair.

    Frames have half the rendered size, so that they are as sharp as a camera's reduced ones.
    """
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
