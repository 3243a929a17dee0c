"""Drawable bodies: textured solids of revolution, placed in the picture by affine maps.

Every part (thigh, forearm, head, ...) is a solid of revolution (the trunk and the head are elliptic) around an axis
between two points of the body. A surface point has material coordinates (s, t): t runs along the axis from 0 to 1, s is
the sideways distance from the axis divided by the widest half-width, so |s| <= profile(t). An affine map takes (s, t)
to the picture. If the part turns about its axis by an angle, the s of a material point changes: with the half-width
w = profile(t) and s = w * sin(a), it becomes w * sin(a + angle). This describes the motion completely, so the flow is
exact.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from posewire.array_types import Float32s, Float64s, Image
from posewire.synth.body import (
    HEAD_DEPTH,
    HEAD_LENGTH,
    HEAD_WIDTH,
    JOINTS,
    BodyShape,
    Posture,
    head_profile,
    place_joints,
)
from posewire.synth.camera import PITCH
from posewire.synth.textures import COLUMNS, Wardrobe

__all__ = ["PARTS", "PROFILE_SAMPLES", "Figure", "Pose2D"]


PROFILE_SAMPLES = 65
_T = np.linspace(0.0, 1.0, PROFILE_SAMPLES)
_PAD = 2  # transparent pixels around a sprite, so that its edges blend when it is warped
_LIGHT = np.array([-0.46, -0.36, 0.81])  # direction to the light: across the part, along it, to the camera
_AMBIENT = 0.58


def _limb(start: float, end: float, cap: float) -> Callable[[Float64s], Float64s]:
    """A cone with round ends; `cap` is the share of the length of each end."""

    def profile(t: Float64s) -> Float64s:
        cone = (start + (end - start) * t) / max(start, end)
        ends = np.clip(np.maximum(cap - t, t - (1.0 - cap)) / cap, 0.0, 1.0)
        return np.asarray(cone * np.sqrt(1.0 - ends**2))

    return profile


def _curve(*knots: tuple[float, float]) -> Callable[[Float64s], Float64s]:
    places, widths = zip(*knots, strict=True)
    return lambda t: np.interp(t, places, widths)


@dataclass(frozen=True)
class PartSpec:
    """The construction of a part, the same for every body.

    Attributes:
        name: of the part.
        start: joint at one end of the axis.
        end: joint at the other end.
        overhang: how far the part extends beyond its joints, at the start and the end, relative to their distance.
        width: widest half-width in body heights; times the girth for limbs.
        profile: half-width along t, relative to the widest.
        texture: field of `Wardrobe`.
        nearer: added to its nearness (metres) when the parts of a body are sorted.
    """

    name: str
    start: str
    end: str
    overhang: tuple[float, float]
    width: float
    profile: Callable[[Float64s], Float64s]
    texture: str
    nearer: float = 0.0


_CHEST = _curve(
    (0, 0.24), (0.04, 0.45), (0.09, 0.86), (0.15, 1.0), (0.30, 0.97), (0.62, 0.80), (0.85, 0.83), (0.97, 0.86),
    (1, 0.80),
)  # fmt: skip
_SIDES = [
    spec
    for side in ("left", "right")
    for spec in (
        PartSpec(f"{side}_thigh", f"{side}_hip", f"{side}_knee", (0.14, 0.13), 0.049, _limb(1.0, 0.68, 0.14), "thigh",
                 -0.11),
        PartSpec(f"{side}_shin", f"{side}_knee", f"{side}_ankle", (0.12, 0.10), 0.034,
                 _curve((0, 0.5), (0.05, 0.86), (0.3, 1.0), (0.85, 0.66), (0.97, 0.62), (1, 0.45)), "shin"),
        PartSpec(f"{side}_foot", f"{side}_heel", f"{side}_toe", (0.16, 0.14), 0.022, _limb(1.0, 0.85, 0.18),
                 "foot", 0.01),
        PartSpec(f"{side}_upper_arm", f"{side}_shoulder", f"{side}_elbow", (0.16, 0.13), 0.028, _limb(1.0, 0.78, 0.16),
                 "upper_arm", 0.035),
        PartSpec(f"{side}_forearm", f"{side}_elbow", f"{side}_wrist", (0.13, 0.08), 0.022, _limb(1.0, 0.70, 0.13),
                 "forearm", 0.05),
        PartSpec(f"{side}_hand", f"{side}_wrist", f"{side}_hand", (0.2, 0.1), 0.020, _limb(0.8, 1.0, 0.3),
                 "hand", 0.055),
    )
]  # fmt: skip
PARTS: tuple[PartSpec, ...] = (
    *_SIDES,
    PartSpec("neck", "chin", "neck_base", (0.6, 0.6), 0.031, _limb(0.9, 1.0, 0.1), "neck", -0.02),
    PartSpec(
        "hips", "pelvis", "shirt_hem", (1.2, 1.4), 0.083, _curve((0, 0.9), (0.5, 1), (0.8, 0.9), (1, 0.6)), "hips", 0.02
    ),
    PartSpec("torso", "shirt_top", "shirt_hem", (0.0, 0.0), 0.0, _CHEST, "torso", 0.025),
    PartSpec("head", "crown", "chin", (0.0, 0.0), HEAD_WIDTH, head_profile, "head", 0.06),
    PartSpec("nose", "nose_top", "nose_tip", (0.1, 0.3), 0.0105, _limb(0.55, 1.0, 0.35), "hand", 0.03),
)
"""The parts of a body, in the order of their labels, not in drawing order."""

PART_ROW = {spec.name: row for row, spec in enumerate(PARTS)}
PROFILES = np.array([spec.profile(_T) for spec in PARTS])
"""`(parts, PROFILE_SAMPLES)` half-widths along t."""
OUTLINES = np.concatenate(
    [np.stack([PROFILES, np.broadcast_to(_T, PROFILES.shape)], -1),
     np.stack([-PROFILES, np.broadcast_to(_T, PROFILES.shape)], -1)[:, ::-1]], axis=1
)  # fmt: skip
"""`(parts, 2 * PROFILE_SAMPLES, 2)` silhouettes in material coordinates."""

_START = np.array([JOINTS[spec.start] for spec in PARTS])
_END = np.array([JOINTS[spec.end] for spec in PARTS])
_OVERHANG = np.array([spec.overhang for spec in PARTS])
_NEARER = np.array([spec.nearer for spec in PARTS])
_TRUNK = [PART_ROW["torso"], PART_ROW["hips"]]
_SKULL = [PART_ROW["head"], PART_ROW["nose"]]


@dataclass(frozen=True)
class Pose2D:
    """A body in the picture.

    Attributes:
        joints: `(len(JOINTS), 2)` pixels.
        nearness: `(len(JOINTS),)` metres by which a joint is nearer to the camera than the middle of the body.
        head_yaw: yaw of the head, 0 towards the camera, radians.
        maps: `(parts, 2, 3)` from (s, t) to the picture.
        turns: `(parts,)` rotation of each part about its axis, radians.
        order: the parts from the farthest to the nearest.
        lights: `(parts,)` brightness.
    """

    joints: Float64s
    nearness: Float64s
    head_yaw: float
    maps: Float64s
    turns: Float64s
    order: npt.NDArray[np.intp]
    lights: Float64s


@dataclass(frozen=True)
class _Surface:
    """A part of one body, prepared for drawing: the texture position of each sprite pixel, and its shading."""

    texture: Image
    columns: Float32s
    rows: Float32s
    shade: Image
    alpha: Image
    to_material: Float64s


class Figure:
    """One person: a shape and clothes, drawable in any posture.

    Args:
        shape: proportions.
        wardrobe: textures.
        largest_scale: maximum pixels per metre; sets the resolution of the sprites.
    """

    def __init__(self, shape: BodyShape, wardrobe: Wardrobe, largest_scale: float) -> None:
        self.shape = shape
        wide = np.array([spec.width for spec in PARTS]) * shape.height
        slender = np.array([spec.name not in ("head", "neck", "nose", "torso") for spec in PARTS])
        wide = np.where(slender, wide * shape.girth, wide)
        wide[PART_ROW["torso"]] = shape.shoulder * 1.06
        self._wide = wide
        self._deep = wide.copy()
        self._deep[PART_ROW["torso"]] = shape.torso_depth * 1.08
        self._deep[PART_ROW["hips"]] = shape.torso_depth * 1.02
        self._deep[PART_ROW["head"]] = HEAD_DEPTH * shape.height
        rest = place_joints(shape, Posture(0.0, 0.0, 0.0, False, 0.0, 0.0, 0.0))
        lengths = np.linalg.norm(rest[_END] - rest[_START], axis=1) * (1.0 + _OVERHANG.sum(axis=1))
        lengths[PART_ROW["head"]] = HEAD_LENGTH * shape.height
        self._surfaces = [
            _surface(PROFILES[row], getattr(wardrobe, spec.texture), lengths[row] * largest_scale,
                     max(self._wide[row], self._deep[row]) * largest_scale)
            for row, spec in enumerate(PARTS)
        ]  # fmt: skip

    def pose(self, posture: Posture, yaw: float, x: float, y: float, scale: float) -> Pose2D:
        """Place the body on the ground at pixel (x, y), where a metre spans `scale` pixels."""
        body = place_joints(self.shape, posture)
        left, up, forward = body.T
        across = left * np.cos(yaw) + forward * np.sin(yaw)
        nearness = forward * np.cos(yaw) - left * np.sin(yaw)
        joints = np.stack([x + scale * across, y - scale * (up - PITCH * nearness)], axis=1)
        shoulders = body[JOINTS["left_shoulder"]] - body[JOINTS["right_shoulder"]]
        twist = float(np.arctan2(shoulders[2], shoulders[0]))
        return self.place(joints, nearness, scale, yaw=yaw, trunk_yaw=yaw - twist, head_yaw=yaw + posture.look)

    def place(
        self, joints: Float64s, nearness: Float64s, scale: float, *, yaw: float, trunk_yaw: float, head_yaw: float
    ) -> Pose2D:
        """Place the body such that its joints are at given positions in the picture.

        Args:
            joints: `(len(JOINTS), 2)` pixels.
            nearness: `(len(JOINTS),)` metres by which each is nearer to the camera than the middle of the body.
            scale: pixels per metre.
            yaw: of arms and legs, 0 towards the camera, radians; as in `pose`.
            trunk_yaw: of the trunk.
            head_yaw: of the head.
        """
        turns = np.full(len(PARTS), yaw)
        turns[_TRUNK] = trunk_yaw
        turns[_SKULL] = head_yaw
        half = np.hypot(self._wide * np.cos(turns), self._deep * np.sin(turns)) * scale
        turns = np.arctan2(self._deep * np.sin(turns), self._wide * np.cos(turns))
        middle = (nearness[_START] + nearness[_END]) / 2
        nearer = middle + _NEARER
        nearer[PART_ROW["nose"]] += 0.06 if np.cos(head_yaw) > -0.1 else -0.1
        return Pose2D(
            joints=joints,
            nearness=nearness,
            head_yaw=head_yaw,
            maps=_axis_maps(joints[_START], joints[_END], half),
            turns=turns,
            order=np.argsort(nearer, kind="stable"),
            lights=np.clip(0.93 + 0.55 * middle / self.shape.height, 0.72, 1.06),
        )

    def sprite(self, part: int, turn: float, light: float) -> tuple[Image, Float64s]:
        """A part rotated about its axis: premultiplied RGBA, and the `(2, 3)` map from its pixels to (s, t)."""
        surface = self._surfaces[part]
        shift = np.float32(-(turn % (2 * np.pi)) / (2 * np.pi) * COLUMNS)
        colours = cv2.remap(surface.texture, surface.columns + shift, surface.rows, cv2.INTER_LINEAR)
        lit = cv2.multiply(colours, surface.shade, scale=light / 255.0)
        return np.asarray(cv2.merge((lit, surface.alpha)), np.uint8), surface.to_material


def _axis_maps(start: Float64s, end: Float64s, half: Float64s) -> Float64s:
    """`(parts, 2, 3)` maps from (s, t) for axes from `start` to `end` `(parts, 2)` and half-widths in pixels."""
    axis = end - start
    length = np.linalg.norm(axis, axis=1)
    direction = np.where(length[:, None] > 1e-6, axis / np.maximum(length, 1e-6)[:, None], [[0.0, 1.0]])
    # For a part that points at the camera, its round end is visible.
    seen = np.maximum(length, 0.8 * half)
    middle = (start + end) / 2
    first = middle - direction * (seen * (0.5 + _OVERHANG[:, 0]))[:, None]
    whole = direction * (seen * (1.0 + _OVERHANG.sum(axis=1)))[:, None]
    sideways = np.stack([direction[:, 1], -direction[:, 0]], axis=1) * half[:, None]
    return np.stack([sideways, whole, first], axis=2)


def _surface(profile: Float64s, texture: Image, length_px: float, half_px: float) -> _Surface:
    rows, half = max(int(np.ceil(length_px)), 3), max(half_px, 1.0)
    columns = 2 * int(np.ceil(half)) + 1
    u = (np.arange(columns + 2 * _PAD) - _PAD - columns // 2) / half
    v = (np.arange(rows + 2 * _PAD) - _PAD) / (rows - 1)
    inside = (v >= -1e-9) & (v <= 1.0 + 1e-9)
    width = np.where(inside, np.interp(v, _T, profile), 0.0)[:, None]
    sine = np.clip(u / np.maximum(width, 1e-6), -1.0, 1.0)
    theta = np.arcsin(sine)
    slope = -np.gradient(width[:, 0], axis=0)[:, None] * half
    normal = np.stack([sine, np.broadcast_to(np.clip(slope, -1.5, 1.5), sine.shape), np.cos(theta)], axis=-1)
    normal /= np.linalg.norm(normal, axis=-1, keepdims=True)
    light = _AMBIENT + (1.14 - _AMBIENT) * np.clip(normal @ _LIGHT, 0.0, 1.0)
    coverage = np.clip((width - np.abs(u)) * half + 0.5, 0.0, 1.0) * (width > 0)
    shade = (np.clip(light, 0.0, 1.0) * coverage * 255).astype(np.uint8)
    # The texture is repeated twice, so that every rotation of the part finds its pixels without wrapping.
    look = (theta + 3 * np.pi) / (2 * np.pi) * COLUMNS - 0.5
    down = np.broadcast_to(np.clip(v, 0.0, 1.0)[:, None] * (len(texture) - 1), look.shape)
    to_material = np.array(
        [[1.0 / half, 0.0, -(_PAD + columns // 2) / half], [0.0, 1.0 / (rows - 1), -_PAD / (rows - 1)]]
    )
    return _Surface(
        texture=np.ascontiguousarray(np.concatenate([texture, texture], axis=1)),
        columns=np.ascontiguousarray(look, dtype=np.float32),
        rows=np.ascontiguousarray(down, dtype=np.float32),
        shade=cv2.merge((shade, shade, shade)),
        alpha=(coverage * 255).astype(np.uint8),
        to_material=to_material,
    )
