"""A synthetic scene: frames with exact ground truth."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from posewire.array_types import Float64s, Image
from posewire.joints import NANO19
from posewire.synth.backdrop import build_backdrop, build_pillars
from posewire.synth.body import JOINTS, draw_shape
from posewire.synth.camera import Camera, compose
from posewire.synth.config import SceneConfig
from posewire.synth.figure import PART_ROW, PARTS, Figure
from posewire.synth.layout import Layout, label_of
from posewire.synth.motion import write_script
from posewire.synth.stage import Actor, Painting, paint
from posewire.synth.textures import draw_wardrobe
from posewire.synth.truth import FrameTruth, SceneFrame
from posewire.synth.visibility import joint_visibility

__all__ = ["Scene"]


_HEAD = [PART_ROW["head"]]
_EXPOSURES = 5  # moments in an exposure, if there is motion blur
_KEPT = 3  # layouts and moments that are not computed again
_NOISE_MARGIN = 61  # pixels by which the field of noise is larger than a frame


class Scene:
    """People who walk in front of a background, with the ground truth of every frame.

    Frames can be indexed in any order; the same settings always give the same frames.

        >>> scene = Scene(SceneConfig.preset("crossing", seed=3, frames=50))
        >>> for frame in scene:
        ...     frame.image, frame.truth.joints, frame.truth.flow

    Args:
        config: settings of the scene.
        backgrounds: RGB pictures `(h, w, 3)` uint8 from which the background is chosen, instead of a drawn street.

    Raises:
        ValueError: a background has another type or shape.
    """

    def __init__(self, config: SceneConfig, backgrounds: Sequence[Image] = ()) -> None:
        self.config = config
        self._camera = Camera.of(config)
        self._backdrop = build_backdrop(config, self._camera, backgrounds)
        self._pillars = build_pillars(config, self._camera)
        # Everything drawn at random has a generator of its own, of the scene's seed and a number found nowhere else.
        shapes = [draw_shape(np.random.default_rng([config.seed, 2, person])) for person in range(config.people)]
        largest_scale = self._camera.focal_px / (0.9 * self._camera.nearest_m)
        self._figures = [
            Figure(shape, draw_wardrobe(np.random.default_rng([config.seed, 3, person]), person), largest_scale)
            for person, shape in enumerate(shapes)
        ]
        self._scripts = [write_script(config, self._camera, shape, person) for person, shape in enumerate(shapes)]
        self._noise = _sensor_noise(config)
        # The last few frames are kept, since the ground truth of a frame needs the previous one.
        self._layouts: OrderedDict[int, Layout] = OrderedDict()
        self._placed: OrderedDict[float, list[Actor]] = OrderedDict()

    def __len__(self) -> int:
        return self.config.frames

    def __iter__(self) -> Iterator[SceneFrame]:
        for index in range(len(self)):
            yield self[index]

    def __getitem__(self, index: int) -> SceneFrame:
        if not -len(self) <= index < len(self):
            raise IndexError(f"frame {index} of a scene of {len(self)} frames; use 0..{len(self) - 1}")
        index %= len(self)
        actors = self._actors(index)
        painting = self._paint(index, actors)
        layout = self._remember(index, painting, actors)
        picture = painting.image if self.config.motion_blur == 0.0 else self._expose(index)
        image = self._photograph(index, np.asarray(cv2.cvtColor(picture, cv2.COLOR_RGBA2RGB), np.uint8))
        return SceneFrame(image, self._truth(index, actors, painting, layout))

    def _actors(self, frame: float) -> list[Actor]:
        """Position and posture of all people at a frame number, which may be fractional."""
        if frame not in self._placed:
            self._placed[frame] = self._place(frame)
            _forget_oldest(self._placed)
        return self._placed[frame]

    def _place(self, frame: float) -> list[Actor]:
        motion = self._camera.motion(frame / self.config.fps)
        actors = []
        for person, (figure, script) in enumerate(zip(self._figures, self._scripts, strict=True)):
            across, depth, yaw, posture = script.at(frame)
            foot = self._camera.ground(across, depth)
            pose = figure.pose(posture, yaw, *foot)
            actors.append(Actor(person, figure, pose, compose(motion, pose.maps), depth, foot))
        return actors

    def _paint(self, frame: float, actors: list[Actor]) -> Painting:
        motion = self._camera.motion(frame / self.config.fps)
        return paint(self._backdrop, self._pillars, actors, motion, (self.config.width, self.config.height))

    def _expose(self, index: int) -> Image:
        """The mean of several moments of the exposure."""
        offsets = np.linspace(-0.5, 0.5, _EXPOSURES) * self.config.motion_blur
        total = np.zeros((self.config.height, self.config.width, 4), np.float32)
        for offset in offsets.tolist():
            cv2.accumulate(self._paint(index + offset, self._actors(index + offset)).image, total)
        return np.asarray(np.rint(total / _EXPOSURES), np.uint8)

    def _photograph(self, index: int, image: Image) -> Image:
        """Add flicker and sensor noise."""
        rng = np.random.default_rng([self.config.seed, 41, index])
        gain = 1.0 + self.config.flicker * (np.sin(index / self.config.fps * 1.9) + rng.normal(0.0, 0.25))
        if self.config.flicker > 0.0:
            image = np.asarray(cv2.convertScaleAbs(image, alpha=float(gain)), np.uint8)
        if self._noise is None:
            return image
        x, y = rng.integers(0, _NOISE_MARGIN, 2).tolist()
        noise = self._noise[y : y + self.config.height, x : x + self.config.width]
        return np.asarray(cv2.add(image, noise, dtype=cv2.CV_8U), np.uint8)

    def _remember(self, index: int, painting: Painting, actors: list[Actor]) -> Layout:
        base = self._camera.motion(index / self.config.fps)
        maps = np.concatenate([actor.maps for actor in actors]) if actors else np.zeros((0, 2, 3))
        turns = np.concatenate([actor.pose.turns for actor in actors]) if actors else np.zeros(0)
        layout = Layout(painting.labels, base, maps, turns)
        self._layouts[index] = layout
        _forget_oldest(self._layouts)
        return layout

    def _layout(self, index: int) -> Layout:
        """The layout of a frame; painted again if it was not one of the last."""
        if index not in self._layouts:
            actors = self._actors(index)
            return self._remember(index, self._paint(index, actors), actors)
        return self._layouts[index]

    def _joints(self, actors: list[Actor], index: int) -> Float64s:
        """`(people, len(JOINTS), 2)` in the frame."""
        motion = self._camera.motion(index / self.config.fps)
        joints = np.array([actor.pose.joints for actor in actors]).reshape(-1, len(JOINTS), 2)
        return joints @ motion[:, :2].T + motion[:, 2]

    def _truth(self, index: int, actors: list[Actor], painting: Painting, layout: Layout) -> FrameTruth:
        width, height = self.config.width, self.config.height
        joints = self._joints(actors, index)[:, : len(NANO19)]
        earlier = max(index - 1, 0)
        moved = joints - self._joints(self._actors(earlier), earlier)[:, : len(NANO19)]
        counts = np.bincount(layout.labels.ravel(), minlength=label_of(len(actors)))[1:].reshape(-1, len(PARTS)).sum(1)
        there = [actor.person for actor in actors if painting.painted.get(actor.person, 0) > 0]
        outlines = [actor.outline for actor in actors]
        full, heads = _bounds([outlines[row] for row in there]), _bounds([outlines[row][_HEAD] for row in there])
        areas = [
            painting.painted[row] if _inside(box, width, height) else _area(outlines[row], box)
            for row, box in zip(there, full, strict=True)
        ]
        marked = np.zeros((len(actors), len(NANO19), 3), np.float32)
        marked[..., :2] = joints
        for row in there:
            marked[row, :, 2] = joint_visibility(actors[row], joints[row], layout.labels)
        return FrameTruth(
            index=index,
            time_s=index / self.config.fps,
            ids=np.array(there, np.int64) + 1,
            joints=marked[there],
            boxes=np.clip(full, 0.0, [width - 1, height - 1, width - 1, height - 1]).astype(np.float32),
            full_boxes=full.astype(np.float32),
            head_boxes=heads.astype(np.float32),
            visible_fraction=np.minimum(counts[there] / np.maximum(areas, 1), 1.0).astype(np.float32),
            joint_flow=moved[there].astype(np.float32),
            layout=layout,
            _before=partial(self._layout, earlier),
        )


def _forget_oldest(kept: OrderedDict[Any, Any]) -> None:
    while len(kept) > _KEPT:
        kept.popitem(last=False)


def _sensor_noise(config: SceneConfig) -> npt.NDArray[np.int16] | None:
    """A noise field larger than the frame; every frame uses a different part of it."""
    if config.sensor_noise == 0.0:
        return None
    shape = (config.height + _NOISE_MARGIN, config.width + _NOISE_MARGIN, 3)
    noise = np.random.default_rng([config.seed, 43]).standard_normal(shape, np.float32)
    return np.asarray(np.rint(noise * config.sensor_noise), np.int16)


def _bounds(outlines: list[Float64s]) -> Float64s:
    """Boxes xyxy `(n, 4)` around outlines `(parts, points, 2)`."""
    return np.array([[*outline.min((0, 1)), *outline.max((0, 1))] for outline in outlines]).reshape(-1, 4)


def _inside(box: Float64s, width: int, height: int) -> bool:
    return bool(box[0] >= 0 and box[1] >= 0 and box[2] <= width - 1 and box[3] <= height - 1)


def _area(outline: Float64s, box: Float64s) -> int:
    """Number of pixels of a silhouette, even outside the picture."""
    corner = np.floor(box[:2])
    size = np.ceil(box[2:] - corner).astype(int) + 1
    mask = np.zeros((size[1], size[0]), np.uint8)
    for part in np.rint(outline - corner).astype(np.int32):
        cv2.fillPoly(mask, [part], 1)
    return int(np.count_nonzero(mask))
