"""Drawn people for the pose network: in labelled poses of real people, and from synthetic scenes.

Labels are easier to get than pictures: COCO's labels of 150,000 people are a file of some megabytes. Drawn people teach
the shapes of poses, and which person a crop with several people is about.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from posewire.array_types import Float32s, Image
from posewire.joints import NANO19, JointSet
from posewire.synth.posing import paint_posed
from posewire_models.training.flow_scenes import HELD_OUT_SEEDS, TRAINING_SEEDS
from posewire_models.training.patches import Cut, PatchGeometry, PatchSet, cut_patch
from posewire_models.training.people import Person, by_name, likely_area
from posewire_models.training.pictures import read_rgb
from posewire_models.training.readers import read_poses
from posewire_models.training.readers.label_file import LabelFileError
from posewire_models.training.sources import SourceConfig, read_source
from posewire_models.training.synthetic_scenes import some_frames

__all__ = ["DrawnPeopleConfig", "draw_people"]

_Drawn = tuple[Image, Person]
"""A picture and one of the people in it, with the joints of NANO19."""

_LEAST_SEEN = 0.35
"""People with a smaller visible share are left out."""
_HIDDEN = 0.5
"""Weight of a hidden joint, except those of the face, which are not labelled from behind."""
_FACE = [row for row, name in enumerate(NANO19.names) if name.endswith(("nose", "eye", "ear"))]
_CANVAS = 448
_MOST_SCENES = 10_000
_SEEDS = (HELD_OUT_SEEDS - TRAINING_SEEDS) // _MOST_SCENES


@dataclass(frozen=True, kw_only=True)
class DrawnPeopleConfig:
    """Which people are drawn at the start, in addition to those of the sources.

    Attributes:
        poses: COCO label file (see `read_poses`), relative to the config's `data_root`; its pictures are not needed.
        backgrounds: folder of pictures without people, also relative to `data_root`.
        posed: number of pictures with people in these poses.
        held_out_every: poses from picture numbers divisible by this are not drawn.
        scenes: number of synthetic scenes, with presets in turn; `posewire demo` and flow measurements use others.
        frames_a_scene: frames of each.
        seed: of everything random.
    """

    poses: Path | None = None
    backgrounds: Path | None = None
    posed: int = 0
    held_out_every: int = 5
    scenes: int = 0
    frames_a_scene: int = 6
    seed: int = 1

    def __post_init__(self) -> None:
        if self.posed < 0 or not 0 <= self.scenes <= _MOST_SCENES or not 0 <= self.seed < _SEEDS:
            raise ValueError(
                f"posed {self.posed} must be at least 0, scenes {self.scenes} in 0..{_MOST_SCENES}, seed {self.seed} "
                f"in 0..{_SEEDS - 1}"
            )
        if self.frames_a_scene < 1 or self.held_out_every < 1:
            raise ValueError(
                f"frames_a_scene {self.frames_a_scene} and held_out_every {self.held_out_every} must be at least 1"
            )
        if self.posed and not (self.poses and self.backgrounds):
            raise ValueError(f"posed is {self.posed}; that needs a file of poses and a folder of backgrounds")


def draw_people(
    config: DrawnPeopleConfig, root: Path, to: JointSet, geometry: PatchGeometry, *, workers: int
) -> PatchSet | None:
    """Draw the people of the config; None if there are none. The same config draws the same people.

    Args:
        config: which people are drawn.
        root: what its paths are relative to.
        to: joint set of the result.
        geometry: of the patches.
        workers: threads.

    Raises:
        LabelFileError: the file of poses is missing or invalid, or no background can be read.
    """
    drawn: list[Callable[[], list[_Drawn]]] = []
    if config.poses and config.backgrounds and config.posed:
        poses = read_poses(root / config.poses, held_out_every=config.held_out_every)
        backgrounds = _backgrounds(config.backgrounds, root)
        drawn += [partial(_posed, poses, backgrounds, [config.seed, number]) for number in range(config.posed)]
    drawn += [partial(_of_scene, config, number) for number in range(config.scenes)]

    def cut(draw: Callable[[], list[_Drawn]]) -> list[Cut]:
        return [
            cut_patch(pixels, Person(person.box, by_name(person.joints, NANO19.names, to), person.area), geometry)
            for pixels, person in draw()
        ]

    with ThreadPoolExecutor(workers) as pool:
        patches = [patch for people in pool.map(cut, drawn) for patch in people]
    return PatchSet.of(patches, geometry) if patches else None


def _backgrounds(folder: Path, root: Path) -> list[Image]:
    scenes = read_source(SourceConfig(format="scenes", images=folder), root, NANO19, held_out=False)
    found = [pixels for scene in scenes if (pixels := read_rgb(scene.path)) is not None]
    if not found:
        raise LabelFileError(
            f"{root / folder} has no pictures to draw people on; name a folder of pictures without people"
        )
    return found


def _posed(poses: Float32s, backgrounds: list[Image], seed: list[int]) -> list[_Drawn]:
    """A picture of one to three people close together."""
    rng = np.random.default_rng(seed)
    picture = _cut_out(backgrounds[int(rng.integers(len(backgrounds)))], rng)
    size = rng.uniform(150.0, 300.0)
    middle = rng.uniform(0.4, 0.6, 2) * _CANVAS
    people = []
    for number in range(int(rng.choice([1, 2, 3], p=[0.45, 0.4, 0.15]))):
        pose = poses[int(rng.integers(len(poses)))].copy()
        known = pose[pose[:, 2] > 0, :2]
        low, high = known.min(axis=0), known.max(axis=0)
        beside = (rng.uniform(-0.6, 0.6) * size, rng.uniform(-0.2, 0.2) * size) if number else (0.0, 0.0)
        zoom = size * rng.uniform(0.8, 1.2) / max(*(high - low), 1e-3)
        pose[:, :2] = (pose[:, :2] - (low + high) / 2) * zoom + middle + beside
        people.append(pose)
    truths = paint_posed(picture, people, rng, backgrounds)
    noisy = np.clip(picture + rng.normal(0.0, rng.uniform(0.0, 8.0), picture.shape), 0, 255).astype(np.uint8)
    return [(noisy, _person(truth.joints, truth.box)) for truth in truths if truth.visible_fraction >= _LEAST_SEEN]


def _cut_out(background: Image, rng: np.random.Generator) -> Image:
    """A square part of a picture, resized to the canvas."""
    height, width = background.shape[:2]
    side = int(min(height, width) * rng.uniform(0.6, 1.0))
    y, x = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
    piece = background[y : y + side, x : x + side]
    return np.asarray(cv2.resize(piece, (_CANVAS, _CANVAS), interpolation=cv2.INTER_AREA), np.uint8)


def _of_scene(config: DrawnPeopleConfig, number: int) -> list[_Drawn]:
    """People from some frames of a scene."""
    people = []
    for frame in some_frames(number, config.frames_a_scene, TRAINING_SEEDS + _MOST_SCENES * config.seed):
        truth = frame.truth
        people += [
            (frame.image, _person(truth.joints[row], truth.boxes[row])) for row in truth.seen(_LEAST_SEEN).nonzero()[0]
        ]
    return people


def _person(joints: Float32s, box: Float32s) -> Person:
    """A drawn person; the last column of `joints` `(19, 3)` is 0 outside the picture, 1 hidden, 2 visible."""
    weights = np.select([joints[:, 2] == 2, joints[:, 2] == 1], [1.0, _HIDDEN], 0.0)
    weights[_FACE] *= joints[_FACE, 2] == 2
    edges = box + np.array([-0.5, -0.5, 0.5, 0.5], np.float32)
    return Person(edges, np.column_stack([joints[:, :2], weights]).astype(np.float32), likely_area(edges))
