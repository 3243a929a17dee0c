"""The camera: the projection of ground points, and the motion of the picture when the camera moves.

A pinhole camera looks horizontally over flat ground from a height of 2.2 m. It only turns and zooms, so (for small
angles) the picture moves by a similarity of the image plane, which is the same for the background and all people.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from posewire.array_types import Float64s
from posewire.synth.config import SceneConfig

__all__ = ["Camera", "compose"]


_HEIGHT_M = 2.2
_MEAN_PERSON_M = 1.75
PITCH = 0.16
"""How much lower, in metres, a body point appears per metre that it is nearer than the feet: the camera looks down."""


def compose(outer: Float64s, inner: Float64s) -> Float64s:
    """Compose affine maps `(..., 2, 3)`: first `inner`, then `outer`."""
    linear = outer[..., :2] @ inner[..., :2]
    shift = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
    return np.concatenate([linear, shift], axis=-1)


@dataclass(frozen=True)
class Camera:
    """Geometry of one scene.

    Attributes:
        config: of the scene.
        focal_px: focal length.
        horizon: row of the horizon in the unmoved picture.
        nearest_m: distance of the nearest people.
        farthest_m: distance of the farthest ones.
    """

    config: SceneConfig
    focal_px: float
    horizon: float
    nearest_m: float
    farthest_m: float

    @classmethod
    def of(cls, config: SceneConfig) -> Camera:
        """The camera that shows people in the configured sizes, with the feet of the nearest just in the picture."""
        focal = 1.1 * max(config.width, config.height)
        nearest = focal * _MEAN_PERSON_M / (config.tallest_person * config.height)
        farthest = focal * _MEAN_PERSON_M / (config.smallest_person * config.height)
        horizon = 0.955 * config.height - focal * _HEIGHT_M / nearest
        return cls(config, focal, horizon, nearest, farthest)

    def ground(self, across_m: float, depth_m: float) -> tuple[float, float, float]:
        """Project a ground point to the unmoved picture: x, y and the pixels per metre there."""
        scale = self.focal_px / depth_m
        return (self.config.width - 1) / 2 + across_m * scale, self.horizon + _HEIGHT_M * scale, scale

    def half_width_m(self, depth_m: float) -> float:
        """Half the width of the unmoved picture at a distance, in metres."""
        return self.config.width / 2 * depth_m / self.focal_px

    def ground_points(self, x: Float64s, y: Float64s) -> tuple[Float64s, Float64s]:
        """Inverse of `ground` for rows below the horizon: metres to the right, and distance."""
        depth = self.focal_px * _HEIGHT_M / np.maximum(y - self.horizon, 1e-3)
        return (x - (self.config.width - 1) / 2) * depth / self.focal_px, depth

    @property
    def margin_px(self) -> int:
        """How far the moved picture reaches beyond the unmoved one, in pixels."""
        return int(np.ceil(self.config.pan * self.config.width + 2.0 * self.config.shake_px)) + 2

    def motion(self, time_s: float) -> Float64s:
        """`(2, 3)` similarity from the unmoved picture to the one at `time_s`."""
        config = self.config
        phases = np.random.default_rng([config.seed, 71]).uniform(0.0, 2 * np.pi, 6)
        zoom = 1.0 + config.zoom * (0.5 - 0.5 * np.cos(2 * np.pi * time_s / 7.3 + phases[0]))
        dx = config.pan * config.width * np.sin(2 * np.pi * time_s / 9.1 + phases[1])
        shakes = np.sin(2 * np.pi * time_s * np.array([1.7, 3.1, 1.3, 3.7]) + phases[2:]) * config.shake_px / 2
        dx, dy = dx + shakes[0] + shakes[1], shakes[2] + shakes[3]
        cx, cy = (config.width - 1) / 2, (config.height - 1) / 2
        return np.array([[zoom, 0.0, cx + zoom * (dx - cx)], [0.0, zoom, cy + zoom * (dy - cy)]])
