"""Frames of synthetic scenes as pictures in which everybody is known."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from posewire.synth import PRESETS, Scene, SceneConfig
from posewire_models.training import scenes as detector_scenes

__all__ = ["render_scenes"]

_VISIBLE = 0.3
"""Who is seen to a smaller part is neither asked for nor denied."""


def render_scenes(
    count: int, frames: int, longest_side: int, *, first_seed: int, workers: int
) -> list[detector_scenes.Scene]:
    """`frames` frames of each of `count` scenes of all presets in turn, `longest_side` pixels wide."""

    def render(number: int) -> list[detector_scenes.Scene]:
        preset = sorted(PRESETS)[number % len(PRESETS)]
        scene = Scene(SceneConfig.preset(preset, seed=first_seed + number))
        scale = longest_side / scene.config.width
        rendered = []
        for index in np.random.default_rng(first_seed + number).integers(len(scene), size=frames).tolist():
            frame = scene[index]
            pixels = cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            boxes = (frame.truth.boxes + 0.5) * scale  # from the middle of pixels to their edges, as labels count
            seen = frame.truth.visible_fraction >= _VISIBLE
            rendered.append(detector_scenes.Scene(np.asarray(pixels, np.uint8), boxes[seen], boxes[~seen], number))
        return rendered

    with ThreadPoolExecutor(workers) as pool:
        return [frame for scene in pool.map(render, range(count)) for frame in scene]
