"""Painting: figures, pillars and shadows on the backdrop, from the farthest to the nearest."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from posewire.array_types import Float64s, Image
from posewire.synth.backdrop import Backdrop, Pillar
from posewire.synth.camera import compose
from posewire.synth.figure import OUTLINES, Figure, Pose2D
from posewire.synth.layout import label_of

__all__ = ["Actor", "Painting", "paint", "put_figure"]

Labels = npt.NDArray[np.uint16]


@dataclass(frozen=True)
class Actor:
    """A person at one moment of the scene.

    Attributes:
        person: row of the person, from 0.
        figure: the appearance of the person.
        pose: in the unmoved picture.
        maps: `(parts, 2, 3)` of the pose, as seen by the moved camera.
        depth_m: distance from the camera.
        foot: x, y on the ground and pixels per metre, in the unmoved picture.
    """

    person: int
    figure: Figure
    pose: Pose2D
    maps: Float64s
    depth_m: float
    foot: tuple[float, float, float]

    @property
    def outline(self) -> Float64s:
        """Silhouettes of all parts in the frame: `(parts, points, 2)`."""
        return np.asarray(OUTLINES @ self.maps[:, :, :2].transpose(0, 2, 1) + self.maps[:, None, :, 2])


@dataclass(frozen=True)
class Painting:
    """A painted frame.

    Attributes:
        image: `(h, w, 4)` uint8, RGB and an unused channel.
        labels: `(h, w)` uint16.
        painted: number of pixels of each person before anything nearer was painted, by person.
    """

    image: Image
    labels: Labels
    painted: dict[int, int]


def paint(
    backdrop: Backdrop, pillars: list[Pillar], actors: list[Actor], motion: Float64s, size: tuple[int, int]
) -> Painting:
    """Paint a frame of `size` (width, height) as seen by a camera moved by `motion` `(2, 3)`."""
    image = backdrop.show(motion, *size)
    labels: Labels = np.zeros(image.shape[:2], np.uint16)
    for actor in actors:
        _shade_ground(image, compose(motion, _shadow_map(actor)))
    painted: dict[int, int] = {}
    things: list[Actor | Pillar] = [*actors, *pillars]
    for thing in sorted(things, key=lambda thing: -thing.depth_m):
        if isinstance(thing, Pillar):
            _put(image, labels, thing.sprite, compose(motion, thing.placed), 0)
        else:
            painted[thing.person] = put_figure(image, labels, thing)
    return Painting(image, labels, painted)


def put_figure(image: Image, labels: Labels, actor: Actor) -> int:
    """Paint all parts of a body into `image` `(h, w, 4)` and `labels`; returns the number of pixels it covers."""
    first, regions = label_of(actor.person), []
    for part in actor.pose.order.tolist():
        if not _touches(image, actor.maps[part]):
            continue
        sprite, to_material = actor.figure.sprite(part, float(actor.pose.turns[part]), float(actor.pose.lights[part]))
        region = _put(image, labels, sprite, compose(actor.maps[part], to_material), first + part)
        if region is not None:
            regions.append(region)
    if not regions:
        return 0
    x0, y0 = np.min([region[:2] for region in regions], axis=0)
    x1, y1 = np.max([region[2:] for region in regions], axis=0)
    around = labels[y0:y1, x0:x1]
    return int(np.count_nonzero((around >= first) & (around < label_of(actor.person + 1))))


_MATERIAL_CORNERS = np.array([[-1.0, -1.0, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0]])


def _touches(image: Image, to_frame: Float64s) -> bool:
    """Whether a part can be visible in the picture."""
    corners = to_frame[:, :2] @ _MATERIAL_CORNERS + to_frame[:, 2:]
    low, high = corners.min(axis=1), corners.max(axis=1)
    height, width = image.shape[:2]
    return bool(high[0] > -1 and high[1] > -1 and low[0] < width and low[1] < height)


def _put(image: Image, labels: Labels, sprite: Image, placed: Float64s, label: int) -> tuple[int, int, int, int] | None:
    """Blend in a premultiplied sprite and label its pixels; returns its region (x0, y0, x1, y1), None if outside."""
    rows, columns = sprite.shape[:2]
    corners = placed[:, :2] @ np.array([[0, columns, 0, columns], [0, 0, rows, rows]], np.float64) + placed[:, 2:]
    x0, y0 = np.maximum(np.floor(corners.min(axis=1)).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners.max(axis=1)).astype(int) + 1, (image.shape[1], image.shape[0]))
    if x1 <= x0 or y1 <= y0:
        return None
    local = placed.copy()
    local[:, 2] -= (x0, y0)
    warped = cv2.warpAffine(sprite, local, (int(x1 - x0), int(y1 - y0)), flags=cv2.INTER_LINEAR)
    alpha = warped[..., 3]
    rest = cv2.bitwise_not(alpha)
    region = image[y0:y1, x0:x1]
    under = cv2.multiply(region, cv2.merge((rest, rest, rest, rest)), scale=1.0 / 255.0)
    cv2.add(under, warped, dst=under)
    region[:] = under
    labels[y0:y1, x0:x1][alpha > 127] = label
    return int(x0), int(y0), int(x1), int(y1)


_SHADOW_PX = 48


def _shadow() -> Image:
    y, x = (np.mgrid[:_SHADOW_PX, :_SHADOW_PX] - (_SHADOW_PX - 1) / 2) / ((_SHADOW_PX - 1) / 2)
    return np.asarray(255.0 - 120.0 * np.clip(1.0 - np.hypot(x, y), 0.0, 1.0) ** 0.8, np.uint8)


_SHADOW = cv2.merge([_shadow()] * 4)


def _shadow_map(actor: Actor) -> Float64s:
    """The map from the shadow's pixels to the ground at an actor's feet."""
    x, y, scale = actor.foot
    half = (_SHADOW_PX - 1) / 2
    reach_x, reach_y = 0.46 * scale / half, 0.13 * scale / half
    return np.array([[reach_x, 0.0, x + 0.08 * scale - half * reach_x], [0.0, reach_y, y - half * reach_y]])


def _shade_ground(image: Image, placed: Float64s) -> None:
    corners = placed[:, :2] @ np.array([[0, _SHADOW_PX], [0, _SHADOW_PX]], np.float64) + placed[:, 2:]
    x0, y0 = np.maximum(np.floor(corners[:, 0]).astype(int), 0)
    x1, y1 = np.minimum(np.ceil(corners[:, 1]).astype(int), (image.shape[1], image.shape[0]))
    if x1 <= x0 or y1 <= y0:
        return
    local = placed.copy()
    local[:, 2] -= (x0, y0)
    size = (int(x1 - x0), int(y1 - y0))
    dark = cv2.warpAffine(_SHADOW, local, size, borderMode=cv2.BORDER_CONSTANT, borderValue=(255, 255, 255, 255))
    image[y0:y1, x0:x1] = cv2.multiply(image[y0:y1, x0:x1], dark, scale=1.0 / 255.0)
