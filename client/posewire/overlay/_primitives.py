"""Drawing primitives of the overlay: lines and dots with subpixel positions, colour mixing, text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeAlias

import cv2
import numpy as np

from posewire.results import FloatArray, Image

__all__ = ["Blend", "Color", "Point", "draw_dot", "draw_line", "glyphs", "mix"]

Color: TypeAlias = tuple[int, int, int]
Point: TypeAlias = tuple[float, float]

# OpenCV draws at fractions of a pixel when coordinates are scaled by 2 ** _SHIFT.
_SHIFT = 4
_FONT = cv2.FONT_HERSHEY_DUPLEX


@lru_cache(maxsize=1024)
def glyphs(text: str, scale: float, stroke: int) -> FloatArray:
    """Coverage of each pixel by the text, 0..1, cropped to the ink: fonts differ in the margins they leave."""
    (width, height), descent = cv2.getTextSize(text, _FONT, scale, stroke)
    drawn = np.zeros((2 * height + 2 * descent, width + 2 * height), dtype=np.uint8)
    cv2.putText(drawn, text, (height // 2, height + height // 2), _FONT, scale, 255, stroke, cv2.LINE_AA)
    rows, columns = np.nonzero(drawn.max(axis=1))[0], np.nonzero(drawn.max(axis=0))[0]
    ink = drawn[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return np.asarray(ink / 255, dtype=np.float32)


@dataclass
class Blend:
    """Draws on a copy of a part of the canvas, and blends it in with `opacity` when the block ends."""

    canvas: Image
    points: Sequence[Point]
    margin: float
    opacity: float

    def __enter__(self) -> Blend:
        height, width = self.canvas.shape[:2]
        xs, ys = [x for x, _ in self.points], [y for _, y in self.points]
        self._left = int(np.clip(min(xs) - self.margin, 0, width))
        self._top = int(np.clip(min(ys) - self.margin, 0, height))
        right = int(np.clip(max(xs) + self.margin + 1, 0, width))
        bottom = int(np.clip(max(ys) + self.margin + 1, 0, height))
        self._part = self.canvas[self._top : bottom, self._left : right]
        self._layer = self._part.copy()
        return self

    def line(self, start: Point, end: Point, color: Color, thickness: float) -> None:
        """Draw a line, in coordinates of the canvas."""
        if self._layer.size:
            moved = [(x - self._left, y - self._top) for x, y in (start, end)]
            draw_line(self._layer, moved[0], moved[1], color, thickness)

    def __exit__(self, *_: object) -> None:
        if self._layer.size:
            self._part[:] = cv2.addWeighted(self._layer, self.opacity, self._part, 1 - self.opacity, 0)


def mix(color: Color, other: Color, share: float) -> Color:
    """A mix of two colours: the share of `other` is `share`, 0..1."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(color, other, strict=True))
    return red, green, blue


def draw_line(canvas: Image, start: Sequence[float], end: Sequence[float], color: Color, thickness: float) -> None:
    """Draw an antialiased line, in pixels."""
    cv2.line(canvas, _fixed(start), _fixed(end), color, max(1, round(thickness)), cv2.LINE_AA, _SHIFT)


def draw_dot(canvas: Image, centre: Sequence[float], color: Color, radius: float) -> None:
    """Draw an antialiased disc, in pixels."""
    cv2.circle(canvas, _fixed(centre), round(radius * 2**_SHIFT), color, cv2.FILLED, cv2.LINE_AA, _SHIFT)


def _fixed(point: Sequence[float]) -> tuple[int, int]:
    # Far outside the picture, where nothing is visible, OpenCV's integers would overflow.
    x, y = (max(-1e5, min(1e5, float(value))) for value in point)
    return round(x * 2**_SHIFT), round(y * 2**_SHIFT)
