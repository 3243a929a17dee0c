"""Image pairs with exact flow: textured shapes before a textured background, each in its own affine motion.

The idea of FlyingChairs (Dosovitskiy et al., "FlowNet", 2015, section 4.1), with shapes drawn instead of rendered:
smooth closed outlines whose radius is a few random waves over the angle. Pairs are made a batch at a time, on the
device that trains.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

__all__ = ["FlowPairConfig", "FlowPairs"]

_WAVES = 4


@dataclass(frozen=True, kw_only=True)
class FlowPairConfig:
    """What is drawn.

    Attributes:
        shapes: before the background.
        smallest, largest: radius of the shapes, in heights of the image.
        shift_px: typical displacement of a shape; a few move twice as far.
        background_px: the same of the background, which stands still in a third of the pairs, as most cameras do.
        rotation_deg, zoom: largest turn and largest relative change of size of a layer between the two images.
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
    """One surface of each pair of a batch: where its texture lies in the first image, and its motion to the second."""

    texture: Tensor  # (b,) rows of the texture bank
    to_texture: Tensor  # (b, 3, 3) pixels of the first image -> pixels of the texture
    motion: Tensor  # (b, 3, 3) pixels of the first image -> pixels of the second
    center: Tensor  # (b, 2) of the outline, in the first image
    radius: Tensor  # (b,) mean radius of the outline; infinite for the background
    waves: Tensor  # (b, waves, 2) cosine and sine amplitudes of the outline


class FlowPairs:
    """Makes pairs of `size` (height, width) from a bank of square textures `(n, side, side, 3)` uint8."""

    def __init__(self, config: FlowPairConfig, textures: Tensor, size: tuple[int, int]) -> None:
        self.config, self.textures, self.size = config, textures, size

    def __call__(self, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor]:
        """`count` pairs.

        Args:
            count: how many.
            generator: on the CPU; the only source of chance.

        Returns:
            first and second images `(count, 3, h, w)` float 0..255, and flow `(count, 2, h, w)`: a point p of the first
            image is at p + flow(p) in the second, whether it can be seen there or not.
        """
        height, width = self.size
        device = self.textures.device
        grid = torch.stack(
            torch.meshgrid(
                torch.arange(width, device=device, dtype=torch.float32),
                torch.arange(height, device=device, dtype=torch.float32),
                indexing="xy",
            ),
            dim=2,
        ).view(1, height * width, 2)
        images = [torch.zeros(count, 3, height, width, device=device) for _ in range(2)]
        flow = torch.zeros(count, 2, height, width, device=device)
        for number in range(self.config.shapes + 1):
            layer = self._layer(count, generator, background=number == 0)
            back = torch.linalg.inv(layer.motion)
            for which, to_first in enumerate((None, back)):
                points = grid.expand(count, -1, -1) if to_first is None else _apply(to_first, grid)
                cover = self._cover(layer, points).view(count, 1, height, width)
                painted = self._paint(layer, points).view(count, 3, height, width)
                images[which] = torch.lerp(images[which], painted, cover)
                if to_first is None:
                    moved = (_apply(layer.motion, grid) - grid).view(count, height, width, 2).permute(0, 3, 1, 2)
                    flow = torch.where(cover > 0.5, moved, flow)
        return images[0], images[1], flow

    def _layer(self, count: int, generator: torch.Generator, *, background: bool) -> _Layer:
        config, device = self.config, self.textures.device
        height, width = self.size
        texture = torch.randint(len(self.textures), (count,), generator=generator).to(device)
        numbers = torch.rand(count, 12, generator=generator).to(device)
        signed = 2 * numbers - 1
        normal = torch.randn(count, 2 + 2 * _WAVES, generator=generator).to(device)
        size = torch.tensor([width, height], device=device)
        center = numbers[:, :2] * size if not background else (size / 2).expand(count, 2)
        shift = normal[:, :2] * (config.background_px if background else config.shift_px)
        if background:
            moving = (numbers[:, 2] > 1 / 3).float()
        else:  # one shape in ten stands still, one in five moves twice as far
            moving = torch.where(numbers[:, 2] < 0.1, 0.0, torch.where(numbers[:, 2] > 0.8, 2.0, 1.0))
        still = (moving > 0).float()
        angle = torch.deg2rad(config.rotation_deg * signed[:, 3] * still)
        zoom = 1 + config.zoom * signed[:, 4] * still
        motion = _about(center, zoom * torch.cos(angle), zoom * torch.sin(angle), shift * moving[:, None])
        # The texture is laid under the shape at any angle, its pixels between half and one and a half image pixels.
        turn = math.pi * signed[:, 5]
        scale = 0.7 + 0.8 * numbers[:, 6]
        side = self.textures.shape[1]
        middle = (0.35 + 0.3 * numbers[:, 7:9]) * side
        to_texture = _about(center, scale * torch.cos(turn), scale * torch.sin(turn), middle - center)
        spread = math.log(config.largest / config.smallest)
        radius = config.smallest * torch.exp(spread * numbers[:, 9]) * height
        if background:
            radius = torch.full_like(radius, torch.inf)
        fading = 0.25 / torch.arange(1, _WAVES + 1, device=device)[:, None]
        waves = normal[:, 2:].view(count, _WAVES, 2) * fading
        return _Layer(texture, to_texture, motion, center, radius, waves)

    def _cover(self, layer: _Layer, points: Tensor) -> Tensor:
        """How much of each of the points `(b, m, 2)`, in pixels of the first image, the layer covers: `(b, m)`."""
        apart = points - layer.center[:, None]
        distance = apart.norm(dim=2)
        # Sine and cosine of an angle's multiples from those of the angle: far cheaper than asking for each.
        x, y = (apart / distance.clamp(min=1e-3).unsqueeze(2)).unbind(2)
        cos, sin = x, y
        outline = torch.ones_like(distance)
        for number in range(_WAVES):
            outline = outline + layer.waves[:, number, 0:1] * cos + layer.waves[:, number, 1:2] * sin
            cos, sin = cos * x - sin * y, sin * x + cos * y
        edge = layer.radius[:, None] * outline.clamp(min=0.3)
        cover: Tensor = (edge - distance + 0.5).clamp(0, 1)
        return cover

    def _paint(self, layer: _Layer, points: Tensor) -> Tensor:
        """Colours `(b, 3, m)` of the layer's texture at the points `(b, m, 2)`, which repeats itself mirrored."""
        side = self.textures.shape[1]
        places = _apply(layer.to_texture, points) * (2 / (side - 1)) - 1
        pixels = self.textures[layer.texture].permute(0, 3, 1, 2).float()
        painted: Tensor = functional.grid_sample(
            pixels, places.unsqueeze(1), mode="bilinear", padding_mode="reflection", align_corners=True
        )
        return painted.squeeze(2)


def _about(center: Tensor, cos: Tensor, sin: Tensor, shift: Tensor) -> Tensor:
    """Affine maps `(b, 3, 3)` that turn and scale about `center` `(b, 2)` and then shift by `(b, 2)`."""
    maps = torch.zeros(len(center), 3, 3, device=center.device)
    maps[:, 0, 0] = maps[:, 1, 1] = cos
    maps[:, 0, 1], maps[:, 1, 0] = -sin, sin
    maps[:, 2, 2] = 1
    maps[:, :2, 2] = center + shift - (maps[:, :2, :2] @ center.unsqueeze(2)).squeeze(2)
    return maps


def _apply(maps: Tensor, points: Tensor) -> Tensor:
    """Points `(b or 1, m, 2)` through maps `(b, 3, 3)`."""
    return points @ maps[:, :2, :2].transpose(1, 2) + maps[:, None, :2, 2]
