"""Frames of synthetic scenes as pictures in which everybody is labelled."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np

from posewire.synth import PRESETS, Scene, SceneConfig, SceneFrame
from posewire_models.training.canvases import LabelledImage

__all__ = ["render_scenes", "some_frames"]

_VISIBLE = 0.3
"""People with a smaller visible share are ignored regions."""


def some_frames(number: int, frames: int, first_seed: int) -> Iterator[SceneFrame]:
    """Frames from anywhere in scene `number`. Presets take turns, and the first scene has seed `first_seed`."""
    seed = first_seed + number
    scene = Scene(SceneConfig.preset(sorted(PRESETS)[number % len(PRESETS)], seed=seed))
    for index in np.random.default_rng(seed).integers(len(scene), size=frames).tolist():
        yield scene[index]


def render_scenes(count: int, frames: int, longest_side: int, *, first_seed: int, workers: int) -> list[LabelledImage]:
    """`frames` frames of each of `count` scenes, with presets in turn, `longest_side` pixels wide."""

    def render(number: int) -> list[LabelledImage]:
        rendered = []
        for frame in some_frames(number, frames, first_seed):
            scale = longest_side / frame.image.shape[1]
            pixels = cv2.resize(frame.image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
            boxes = (frame.truth.boxes + 0.5) * scale  # from pixel centres to the labels' pixel edges
            seen = frame.truth.visible_fraction >= _VISIBLE
            rendered.append(LabelledImage(np.asarray(pixels, np.uint8), boxes[seen], boxes[~seen]))
        return rendered

    with ThreadPoolExecutor(workers) as pool:
        return [frame for scene in pool.map(render, range(count)) for frame in scene]
