"""The background behind people and the pillars in front of them: a street with houses, and pavement."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from posewire.array_types import Float32s, Float64s, Image
from posewire.synth.camera import Camera, compose
from posewire.synth.config import SceneConfig

__all__ = ["Backdrop", "Pillar", "build_backdrop", "build_pillars"]

Canvas = Float32s

_WALLS = (
    (168, 110, 88),
    (196, 178, 150),
    (138, 134, 130),
    (206, 196, 182),
    (150, 92, 76),
    (176, 160, 120),
    (122, 138, 150),
)


@dataclass(frozen=True)
class Backdrop:
    """A picture larger than the frame, of which the camera shows a part.

    Attributes:
        canvas: `(h + 2 * margin, w + 2 * margin, 4)` uint8, RGB and an unused channel.
        margin_px: offset of the unmoved frame in it, in x and y.
    """

    canvas: Image
    margin_px: int

    def show(self, motion: Float64s, width: int, height: int) -> Image:
        """The picture seen by the moved camera, `(height, width, 4)`; the result may be modified."""
        shift = np.array([[1.0, 0.0, -self.margin_px], [0.0, 1.0, -self.margin_px]])
        placed = compose(motion, shift)
        if np.allclose(placed, shift, atol=1e-9):
            return self.canvas[self.margin_px : self.margin_px + height, self.margin_px : self.margin_px + width].copy()
        return np.asarray(
            cv2.warpAffine(self.canvas, placed, (width, height), borderMode=cv2.BORDER_REPLICATE), np.uint8
        )


@dataclass(frozen=True)
class Pillar:
    """An object that people walk behind.

    Attributes:
        sprite: `(h, w, 4)` premultiplied RGBA.
        placed: `(2, 3)` from sprite pixels to the unmoved picture.
        depth_m: its distance from the camera.
    """

    sprite: Image
    placed: Float64s
    depth_m: float


def build_backdrop(config: SceneConfig, camera: Camera, pictures: Sequence[Image]) -> Backdrop:
    """A street, or one of the given RGB pictures, chosen by the seed and stretched to cover the canvas."""
    rng = np.random.default_rng([config.seed, 5])
    margin = camera.margin_px
    width, height = config.width + 2 * margin, config.height + 2 * margin
    if pictures:
        canvas = _cover(pictures[int(rng.integers(len(pictures)))], width, height)
    else:
        canvas = np.clip(_street(rng, camera, width, height, margin), 0, 255).astype(np.uint8)
    return Backdrop(np.asarray(cv2.cvtColor(canvas, cv2.COLOR_RGB2RGBA), np.uint8), margin)


def _cover(picture: Image, width: int, height: int) -> Image:
    if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8 or 0 in picture.shape:
        raise ValueError(f"a background is {picture.dtype} {picture.shape}; give RGB pictures, uint8 (h, w, 3)")
    grow = max(width / picture.shape[1], height / picture.shape[0])
    size = (max(width, round(picture.shape[1] * grow)), max(height, round(picture.shape[0] * grow)))
    grown = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if grow < 1 else cv2.INTER_LINEAR)
    x, y = (size[0] - width) // 2, (size[1] - height) // 2
    return np.ascontiguousarray(grown[y : y + height, x : x + width])


def _grain(rng: np.random.Generator, width: int, height: int, cell: int) -> Canvas:
    """Smooth noise with mean 0 and standard deviation about 1, `(height, width, 1)`."""
    cells = rng.normal(0.0, 1.0, (height // cell + 2, width // cell + 2)).astype(np.float32)
    return np.asarray(cv2.resize(cells, (width, height), interpolation=cv2.INTER_CUBIC), np.float32)[..., None]


def _street(rng: np.random.Generator, camera: Camera, width: int, height: int, margin: int) -> Canvas:
    """Sky, houses, hedge, pavement."""
    size = camera.config.height
    ground_row = int(camera.ground(0.0, 1.4 * camera.farthest_m)[1]) + margin
    ground_row = int(np.clip(ground_row, 8, height - 8))
    canvas = np.empty((height, width, 3), np.float32)
    fade = np.linspace(0.0, 1.0, height, dtype=np.float32)[:, None, None]
    canvas[:] = np.array([120, 168, 220], np.float32) * (1 - fade) + np.array([226, 232, 236], np.float32) * fade
    canvas += 9.0 * _grain(rng, width, height, max(size // 8, 2))
    x = -int(rng.uniform(0.0, 0.2) * size)
    while x < width:
        house = int(rng.uniform(0.35, 0.75) * size)
        top = ground_row - int(rng.uniform(0.30, 0.75) * size)
        _house(rng, canvas, (x, max(top, -size // 3), x + house, ground_row), size)
        x += house
    _hedge(rng, canvas, ground_row, size)
    canvas[ground_row:] = _pavement(rng, camera, width, height, margin)[ground_row:]
    kerb = max(size // 90, 1)
    canvas[ground_row : ground_row + kerb] = 178.0
    canvas[ground_row + kerb : ground_row + 2 * kerb] = 96.0
    textured = canvas * (1.0 + 0.03 * _grain(rng, width, height, 2)) + 2.0 * _grain(rng, width, height, 5)
    return np.asarray(textured, np.float32)


def _house(rng: np.random.Generator, canvas: Canvas, box: tuple[int, int, int, int], size: int) -> None:
    left, top, right, bottom = box
    width, height = right - left, bottom - top
    colour = np.array(_WALLS[int(rng.integers(len(_WALLS)))], np.float32) + rng.normal(0, 8, 3).astype(np.float32)
    wall = np.ones((height, width, 3), np.float32) * colour
    wall *= 1.0 + 0.06 * _grain(rng, width, height, max(size // 30, 2)) + 0.04 * _grain(rng, width, height, 2)
    if rng.random() < 0.6:  # bricks
        course = max(size // 55, 4)
        for number, y in enumerate(range(0, height, course)):
            wall[y] *= 0.80
            wall[y : y + course, (number % 2) * course :: 2 * course] *= 0.84
    storey, pane = int(0.2 * size), int(0.075 * size)
    gap = int(rng.uniform(0.14, 0.2) * size)
    for y in range(height - storey + storey // 5, -storey, -storey):
        for x in range(gap // 3, width - pane, gap):
            _window(rng, wall, (x, y, x + pane, y + int(0.11 * size)))
    wall[:, -max(size // 160, 1) :] *= 0.6
    wall[: max(size // 70, 1)] *= 0.62
    x0, y0 = max(left, 0), max(top, 0)
    x1, y1 = min(right, canvas.shape[1]), min(bottom, canvas.shape[0])
    if x1 > x0 and y1 > y0:
        canvas[y0:y1, x0:x1] = wall[y0 - top : y1 - top, x0 - left : x1 - left]


def _window(rng: np.random.Generator, wall: Canvas, box: tuple[int, int, int, int]) -> None:
    left, top, right, bottom = box
    frame = max((right - left) // 10, 1)
    glass = np.array([70, 86, 102], np.float32) * float(rng.uniform(0.6, 1.5))
    if rng.random() < 0.12:
        glass = np.array([238, 210, 150], np.float32)
    # cv2 clips to the wall.
    cv2.rectangle(wall, (left - frame, top - frame), (right + frame, bottom + frame), (214.0, 210.0, 202.0), -1)
    cv2.rectangle(wall, (left, top), (right, bottom), glass.tolist(), -1)
    shine = np.array(
        [[left, bottom], [left, (top + bottom) // 2], [right, top], [right, (top + bottom) // 2]], np.int32
    )
    cv2.fillPoly(wall, [shine], (glass * 1.25).tolist())
    cv2.line(wall, ((left + right) // 2, top), ((left + right) // 2, bottom), (206.0, 202.0, 196.0), frame)


def _hedge(rng: np.random.Generator, canvas: Canvas, ground_row: int, size: int) -> None:
    """Draw scattered bushes along the base of the houses."""
    for _ in range(int(canvas.shape[1] / size * 150)):
        x = float(rng.uniform(0, canvas.shape[1]))
        thick = 0.5 + 0.5 * np.sin(x / size * 5.0 + 1.7)
        if thick < 0.35:
            continue
        y = ground_row - float(rng.uniform(0.0, 0.10)) * thick * size
        green = np.array([60, 104, 48], np.float32) * float(rng.uniform(0.5, 1.35))
        axes = (max(int(rng.uniform(0.008, 0.022) * size), 1), max(int(rng.uniform(0.006, 0.014) * size), 1))
        cv2.ellipse(canvas, (int(x), int(y)), axes, float(rng.uniform(0, 180)), 0, 360, green.tolist(), -1, cv2.LINE_AA)


def _pavement(rng: np.random.Generator, camera: Camera, width: int, height: int, margin: int) -> Canvas:
    """Slabs in correct perspective."""
    pixels_a_slab, slabs = 48, 24
    side = pixels_a_slab * slabs
    tints = 1.0 + 0.07 * rng.normal(0.0, 1.0, (slabs, slabs, 1)).astype(np.float32)
    base = np.array([(158, 152, 144), (140, 142, 146), (172, 150, 128)][int(rng.integers(3))], np.float32)
    floor = np.kron(tints, np.ones((pixels_a_slab, pixels_a_slab, 1), np.float32)) * base
    floor *= 1.0 + 0.05 * _grain(rng, side, side, 3) + 0.05 * _grain(rng, side, side, 40)
    for line in range(0, side, pixels_a_slab):
        floor[line : line + 2] *= 0.66
        floor[:, line : line + 2] *= 0.66
    y, x = np.mgrid[:height, :width].astype(np.float64)
    across, depth = camera.ground_points(x - margin, y - margin)
    slab_m = 0.45
    scale = pixels_a_slab / slab_m
    # Blurred slabs where one pixel covers many texture pixels, which would otherwise shimmer.
    shrink = np.clip(scale * depth / camera.focal_px, 1.0, 8.0)
    blurred = cv2.blur(floor, (1, 9))
    maps = ((across * scale) % side).astype(np.float32), ((depth * scale) % side).astype(np.float32)
    sharp = cv2.remap(floor, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    soft = cv2.remap(blurred, *maps, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP)
    share = ((shrink - 1.0) / 3.0).clip(0.0, 1.0)[..., None].astype(np.float32)
    return np.asarray(sharp * (1 - share) + soft * share, np.float32)


def build_pillars(config: SceneConfig, camera: Camera) -> list[Pillar]:
    """Pillars spread over the picture, nearer than most people, each with its own width and colour."""
    rng = np.random.default_rng([config.seed, 11])
    return [_pillar(rng, config, camera, number) for number in range(config.pillars)]


def _pillar(rng: np.random.Generator, config: SceneConfig, camera: Camera, number: int) -> Pillar:
    depth = camera.nearest_m * float(rng.uniform(0.95, 1.25))
    spread = (number + float(rng.uniform(0.25, 0.75))) / config.pillars * 1.8 - 0.9
    x, foot, scale = camera.ground(spread * camera.half_width_m(depth), depth)
    half = float(rng.uniform(0.11, 0.2)) * scale
    rows, columns = int(foot + camera.margin_px) + 4, 2 * int(np.ceil(half)) + 1
    colour = np.array(_WALLS[int(rng.integers(len(_WALLS)))], np.float32)
    sine = np.clip((np.arange(columns) - columns // 2) / half, -1.0, 1.0).astype(np.float32)
    # From the same side as on people, see `figure`.
    light = 0.5 + 0.62 * np.clip(-0.46 * sine + 0.81 * np.sqrt(1 - sine**2), 0.0, 1.0)
    stone = np.ones((rows, columns, 3), np.float32) * colour * light[None, :, None]
    stone *= 1.0 + 0.07 * _grain(rng, columns, rows, 3) + 0.07 * _grain(rng, columns, rows, max(columns // 3, 2))
    band = max(int(0.35 * scale), 4)
    stone[rows % band :: band] *= 0.72
    stone[-max(int(0.2 * scale), 2) :] *= 0.78
    poster = int(rows - 1.75 * scale), int(rows - 1.1 * scale)
    if columns > 12 and poster[0] > 0:
        paper = np.array(_WALLS[int(rng.integers(len(_WALLS)))], np.float32)[::-1]
        stone[poster[0] : poster[1], columns // 4 : -columns // 4] = (
            paper * light[columns // 4 : -columns // 4, None] * 1.1
        )
    alpha = np.full((rows, columns), 255, np.uint8)
    sprite = np.asarray(cv2.merge((np.clip(stone, 0, 255).astype(np.uint8), alpha)), np.uint8)
    placed = np.array([[1.0, 0.0, x - columns // 2], [0.0, 1.0, foot - rows + 1.0]])
    return Pillar(sprite, placed, depth)
