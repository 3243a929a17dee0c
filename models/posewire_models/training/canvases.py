"""Pictures for the detector: kept small in memory, and composed anew for every step.

A canvas shows one picture at some scale, or four in a mosaic. Small people are common in camera streams but rare in
pictures taken of people, so pictures are mostly shrunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from posewire.array_types import Float32s, Image
from posewire_models.letterbox import FILL, LARGEST_SCALE
from posewire_models.resizing import resize
from posewire_models.training.people import Picture, in_sight
from posewire_models.training.pictures import read_rgb, shrunk

__all__ = ["PADDING", "CanvasComposer", "CanvasConfig", "LabelledImage", "letterboxed", "load_images"]

PADDING = int(FILL)
"""Grey level outside the picture."""


@dataclass(frozen=True)
class LabelledImage:
    """A picture in memory, or a canvas, and where its people are.

    Attributes:
        pixels: `(h, w, 3)` uint8 RGB.
        boxes: `(n, 4)` x1, y1, x2, y2 of all its people.
        ignored: `(m, 4)` boxes where people may or may not be.
    """

    pixels: Image
    boxes: Float32s
    ignored: Float32s


@dataclass(frozen=True, kw_only=True)
class CanvasConfig:
    """How canvases are composed.

    Attributes:
        mosaic: probability of four pictures instead of one.
        smallest, largest: bounds of a picture's longer side, relative to its place on the canvas.
        flip: probability of mirroring.
        colour, blur: see `recolour`.
        least_side: people whose longer side is shorter than this many pixels are ignored regions.
        least_seen: so are people with a smaller share left after clipping.
    """

    mosaic: float = 0.5
    smallest: float = 0.5
    largest: float = 1.6
    flip: float = 0.5
    colour: float = 0.4
    blur: float = 0.2
    least_side: float = 10.0
    least_seen: float = 0.3

    def __post_init__(self) -> None:
        for name in ("mosaic", "flip", "colour", "blur", "least_seen"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"scene.{name} {getattr(self, name)} must be in 0..1")
        if not 0 < self.smallest <= self.largest:
            raise ValueError(f"scene.smallest {self.smallest} must be above 0 and at most largest {self.largest}")


def load_images(pictures: Sequence[Picture], longest_side: int, workers: int = 2) -> list[LabelledImage]:
    """Read the complete pictures among these, shrunk to `longest_side`.

    Damaged ones, and people whose box is outside the picture, are reported in the log and left out.
    """

    def load(picture: Picture) -> LabelledImage | None:
        pixels = read_rgb(picture.path, picture.size)
        if pixels is None:
            return None
        size = pixels.shape[1::-1]
        boxes = np.array([one.box for one in in_sight(picture, picture.people, size)], np.float32).reshape(-1, 4)
        scale = longest_side / max(size)
        if scale < 1:
            pixels = shrunk(pixels, scale)
        limit = np.array([*pixels.shape[1::-1]] * 2, np.float32)
        ratio = limit / np.array([*size] * 2, np.float32)
        return LabelledImage(pixels, (boxes * ratio).clip(0, limit), (picture.ignored * ratio).clip(0, limit))

    with ThreadPoolExecutor(workers) as pool:
        loaded = pool.map(load, [picture for picture in pictures if picture.complete])
        return [image for image in loaded if image is not None]


def letterboxed(image: LabelledImage, size: tuple[int, int]) -> tuple[LabelledImage, float]:
    """The image in the top left corner of a canvas of `size` (height, width), as detectors see it, and its scale."""
    height, width = size
    scale = min(width / image.pixels.shape[1], height / image.pixels.shape[0], LARGEST_SCALE)
    canvas = np.full((height, width, 3), PADDING, np.uint8)
    placed = _place(canvas, image, (0, 0, width, height), scale, (0.0, 0.0), mirrored=False)
    return LabelledImage(canvas, placed, image.ignored * scale), scale


class CanvasComposer:
    """Composes canvases of `size` (height, width) from images."""

    def __init__(self, config: CanvasConfig, images: Sequence[LabelledImage], size: tuple[int, int]) -> None:
        self.config, self.images, self.size = config, images, size

    def __call__(self, row: int, rng: np.random.Generator) -> LabelledImage:
        """A canvas with image `row` on it; `rng` is the only source of randomness."""
        height, width = self.size
        canvas = np.full((height, width, 3), PADDING, np.uint8)
        if rng.random() < self.config.mosaic:
            x, y = int(rng.uniform(0.3, 0.7) * width), int(rng.uniform(0.3, 0.7) * height)
            places = [(0, 0, x, y), (x, 0, width, y), (0, y, x, height), (x, y, width, height)]
            rows = [row, *rng.integers(len(self.images), size=3).tolist()]
        else:
            places, rows = [(0, 0, width, height)], [row]
        sure, ignored = [], []
        for place, one in zip(places, rows, strict=True):
            boxes, doubtful = self._put(canvas, self.images[one], place, rng)
            sure.append(boxes)
            ignored.append(doubtful)
        return LabelledImage(canvas, np.concatenate(sure), np.concatenate(ignored))

    def _put(
        self, canvas: Image, image: LabelledImage, place: tuple[int, int, int, int], rng: np.random.Generator
    ) -> tuple[Float32s, Float32s]:
        """Draw the image into the place; returns its boxes on the canvas, and the ignored ones."""
        config = self.config
        x1, y1, x2, y2 = place
        height, width = image.pixels.shape[:2]
        fit = min((x2 - x1) / width, (y2 - y1) / height)
        scale = fit * float(np.exp(rng.uniform(np.log(config.smallest), np.log(config.largest))))
        # A picture larger than the place shows any part of itself; a smaller one is put anywhere in it.
        free = np.array([x2 - x1 - scale * width, y2 - y1 - scale * height])
        corner = (x1 + round(free[0] * rng.random()), y1 + round(free[1] * rng.random()))
        mirrored = bool(rng.random() < config.flip)
        boxes = _place(canvas, image, place, scale, corner, mirrored=mirrored)
        doubtful = _moved(image.ignored, scale, corner, width, mirrored)
        cut = boxes.clip([x1, y1, x1, y1], [x2, y2, x2, y2]).astype(np.float32)
        seen = _area(cut) / np.maximum(_area(boxes), 1e-6)
        longer = np.maximum(cut[:, 2] - cut[:, 0], cut[:, 3] - cut[:, 1])
        visible = seen > 0.02
        sure = (seen >= config.least_seen) & (longer >= config.least_side)
        doubtful = doubtful.clip([x1, y1, x1, y1], [x2, y2, x2, y2]).astype(np.float32)
        return cut[sure], np.concatenate([doubtful[_area(doubtful) > 0], cut[visible & ~sure]])


def _place(
    canvas: Image,
    image: LabelledImage,
    place: tuple[int, int, int, int],
    scale: float,
    corner: tuple[float, float],
    *,
    mirrored: bool,
) -> Float32s:
    """Draw the scaled image with its top left at `corner`, clipped to the place; returns its unclipped boxes."""
    x1, y1, x2, y2 = place
    pixels = image.pixels
    if scale < 1:  # as frames are resized for detectors; warpAffine, which reads only four neighbours, would alias
        height, width = (max(round(side * scale), 1) for side in pixels.shape[:2])
        pixels = resize(torch.from_numpy(pixels), (height, width)).permute(1, 2, 0).byte().numpy()
    fx, fy = image.pixels.shape[1] * scale / pixels.shape[1], image.pixels.shape[0] * scale / pixels.shape[0]
    if mirrored:
        pixels = np.ascontiguousarray(pixels[:, ::-1])
    # Edges are half a pixel outside the outermost pixel centres, on both sides of the map.
    matrix = np.array([[fx, 0, corner[0] - x1 + fx / 2 - 0.5], [0, fy, corner[1] - y1 + fy / 2 - 0.5]], np.float64)
    drawn = cv2.warpAffine(
        pixels, matrix, (x2 - x1, y2 - y1), flags=cv2.INTER_LINEAR, borderValue=(PADDING, PADDING, PADDING)
    )
    canvas[y1:y2, x1:x2] = drawn
    return _moved(image.boxes, scale, corner, image.pixels.shape[1], mirrored)


def _moved(boxes: Float32s, scale: float, corner: tuple[float, float], width: int, mirrored: bool) -> Float32s:
    if mirrored:
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    return (boxes * scale + np.array([*corner, *corner], np.float32)).astype(np.float32)


def _area(boxes: Float32s) -> Float32s:
    area: Float32s = (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)
    return area
