"""Image pairs with exact flow: textured shapes in front of a textured background, each with its own affine motion.

The idea of FlyingChairs (Dosovitskiy et al., "FlowNet", 2015, section 4.1), but with drawn instead of rendered shapes:
smooth closed outlines whose radius is a sum of a few random waves over the angle. OpenCV draws each shape only where it
is, a tenth of the work of sampling every layer over the whole image.
"""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from posewire.array_types import Float32s

__all__ = ["FlowPairConfig", "FlowPairs"]


_WAVES = 4
_OUTLINE_POINTS = 72
# Corners of outlines are drawn with a precision of 1/16 pixel.
_SUBPIXEL_BITS = 4


@dataclass(frozen=True, kw_only=True)
class FlowPairConfig:
    """What is drawn.

    Attributes:
        shapes: number of shapes in front of the background.
        smallest, largest: radius of the shapes, relative to the image height.
        shift_px: typical displacement of a shape; a few move twice as far.
        background_px: the same for the background, which stands still in a third of the pairs, as with most cameras.
        rotation_deg, zoom: largest rotation and largest relative change of size of a layer between the two images.
    """

    shapes: int = 5
    smallest: float = 0.06
    largest: float = 0.35
    shift_px: float = 10.0
    background_px: float = 5.0
    rotation_deg: float = 6.0
    zoom: float = 0.06

    def __post_init__(self) -> None:
        if not 0 <= self.shapes <= 32:
            raise ValueError(f"pairs.shapes {self.shapes} must be in 0..32")
        if not 0 < self.smallest <= self.largest <= 2:
            raise ValueError(f"pairs.smallest {self.smallest} and largest {self.largest} must rise within 0..2")
        if min(self.shift_px, self.background_px, self.rotation_deg, self.zoom) < 0 or self.zoom >= 1:
            raise ValueError("pairs: shift_px, background_px, rotation_deg and zoom must not be negative, zoom below 1")


@dataclass(frozen=True)
class _Layer:
    """One surface: its texture's position in the first image, its motion to the second, and its outline.

    Maps are affine, `(3, 3)`.
    """

    texture: int
    to_texture: Float32s  # pixels of the first image -> pixels of the texture
    motion: Float32s  # pixels of the first image -> pixels of the second
    outline: Float32s | None  # (points, 2) in the first image; the background has none


class FlowPairs:
    """Makes pairs of `size` (height, width) from a bank of square textures `(n, side, side, 3)` uint8.

    Args:
        config: what is drawn.
        textures: of the layers; repeated by mirroring.
        size: (height, width) of the images.
        workers: threads that draw.
    """

    def __init__(self, config: FlowPairConfig, textures: Tensor, size: tuple[int, int], workers: int = 1) -> None:
        self.config, self.size = config, size
        self._textures = textures.numpy()
        self._pool = ThreadPoolExecutor(workers, "flow-pairs")

    def __call__(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """`count` pairs.

        Args:
            count: how many.
            generator: on the CPU; the only source of randomness.

        Returns:
            first and second images `(count, 3, h, w)` float 0..255, and flow `(count, 2, h, w)`: a point p of the first
            image is at p + flow(p) in the second, whether it is visible there or not.
        """
        height, width = self.size
        first, second = (np.empty((count, height, width, 3), np.float32) for _ in range(2))
        flow = np.empty((count, height, width, 2), np.float32)
        drawn = [
            [self._layer(generator, background=number == 0) for number in range(self.config.shapes + 1)]
            for _ in range(count)
        ]

        def draw(row: int) -> None:
            for layer in drawn[row]:
                self._paint(layer, np.eye(3, dtype=np.float32), first[row], flow[row])
                self._paint(layer, layer.motion, second[row])

        list(self._pool.map(draw, range(count)))
        images = [torch.from_numpy(each).permute(0, 3, 1, 2).contiguous() for each in (first, second, flow)]
        return images[0], images[1], images[2]

    def _layer(self, generator: torch.Generator, *, background: bool) -> _Layer:
        config, (height, width) = self.config, self.size
        texture = int(torch.randint(len(self._textures), (), generator=generator))
        numbers = torch.rand(12, generator=generator).numpy()
        signed = 2 * numbers - 1
        normal = torch.randn(2 + 2 * _WAVES, generator=generator).numpy()
        size = np.array([width, height], np.float32)
        center: Float32s = (size / 2 if background else numbers[:2] * size).astype(np.float32)
        shift = normal[:2] * np.float32(config.background_px if background else config.shift_px)
        if background:
            moving = float(numbers[2] > 1 / 3)
        else:  # one shape in ten stands still, one in five moves twice as far
            moving = 0.0 if numbers[2] < 0.1 else 2.0 if numbers[2] > 0.8 else 1.0
        angle = math.radians(config.rotation_deg) * float(signed[3]) * (moving > 0)
        zoom = 1 + config.zoom * float(signed[4]) * (moving > 0)
        # The texture is placed under the shape at a random angle; its pixels are 0.5 to 1.5 image pixels large.
        middle = (0.35 + 0.3 * numbers[7:9]).astype(np.float32) * self._textures.shape[1]
        to_texture = _about(center, math.pi * float(signed[5]), 0.7 + 0.8 * float(numbers[6]), middle - center)
        radius = config.smallest * (config.largest / config.smallest) ** float(numbers[9]) * height
        outline = None if background else center + radius * _outline(normal[2:].reshape(_WAVES, 2))
        return _Layer(texture, to_texture, _about(center, angle, zoom, shift * np.float32(moving)), outline)

    def _paint(self, layer: _Layer, placed: Float32s, image: Float32s, flow: Float32s | None = None) -> None:
        """Paint a layer, moved by the map `placed`, on an image `(h, w, 3)`, and its motion on the flow `(h, w, 2)`."""
        height, width = self.size
        left, top, right, bottom = 0, 0, width, height
        outline = None
        if layer.outline is not None:
            outline = layer.outline @ placed[:2, :2].T + placed[:2, 2]
            left, top = (max(0, int(low)) for low in outline.min(axis=0))
            right, bottom = (int(high) + 2 for high in outline.max(axis=0))
            right, bottom = min(right, width), min(bottom, height)
            if right <= left or bottom <= top:
                return  # it lies outside
        here = np.array([[1, 0, left], [0, 1, top], [0, 0, 1]], np.float32)  # of the part that is painted
        to_texture = layer.to_texture @ np.linalg.inv(placed) @ here
        painted = cv2.warpAffine(
            self._textures[layer.texture],
            to_texture[:2],
            (right - left, bottom - top),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT_101,
        )
        part = image[top:bottom, left:right]
        cover = np.full(part.shape[:2], 255, np.uint8)
        if outline is not None:
            corners = np.rint((outline - (left, top)) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
            cover[:] = 0
            cv2.fillPoly(cover, [corners], 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
            part += (painted - part) * (cover[..., None] / np.float32(255))
        else:
            part[:] = painted
        if flow is not None:
            xs, ys = np.arange(left, right, dtype=np.float32), np.arange(top, bottom, dtype=np.float32)[:, None]
            linear, moved = layer.motion[:2, :2] - np.eye(2, dtype=np.float32), layer.motion[:2, 2]
            inside = cover > 127
            for axis in range(2):
                displaced = linear[axis, 0] * xs + linear[axis, 1] * ys + moved[axis]
                flow[top:bottom, left:right, axis][inside] = displaced[inside]


def _outline(waves: Float32s) -> Float32s:
    """Points `(points, 2)` around the origin at a distance of about 1, from cosine and sine amplitudes `(waves, 2)`."""
    angles = np.linspace(0, 2 * np.pi, _OUTLINE_POINTS, endpoint=False)
    radius = np.ones_like(angles)
    for number, (cosine, sine) in enumerate(waves, start=1):
        radius += 0.25 / number * (cosine * np.cos(number * angles) + sine * np.sin(number * angles))
    radius = radius.clip(min=0.3)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1).astype(np.float32)


def _about(center: Float32s, angle: float, zoom: float, shift: Float32s) -> Float32s:
    """The affine map `(3, 3)` that rotates and scales about `center` `(2,)` and then shifts by `shift` `(2,)`."""
    cos, sin = zoom * math.cos(angle), zoom * math.sin(angle)
    linear = np.array([[cos, -sin], [sin, cos]], np.float32)
    placed = np.eye(3, dtype=np.float32)
    placed[:2, :2], placed[:2, 2] = linear, center + shift - linear @ center
    return placed
