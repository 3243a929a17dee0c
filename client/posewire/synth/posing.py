"""Drawn people in given poses: joints from labelled pictures, on drawn bodies.

In scenes, people only walk and wave; labelled pictures contain all kinds of poses. What labels lack is chosen to look
plausible: the distance of each joint from the camera, the directions of body and head, hands and feet.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from posewire.array_types import Float32s, Float64s, Image
from posewire.joints import COCO17, NANO19
from posewire.synth.body import (
    FACE,
    HEAD_DEPTH,
    HEAD_LENGTH,
    HEAD_WIDTH,
    JOINTS,
    BodyShape,
    draw_shape,
    head_profile,
)
from posewire.synth.figure import PARTS, Figure, Pose2D
from posewire.synth.layout import label_of
from posewire.synth.stage import Actor, put_figure
from posewire.synth.textures import COLUMNS, ROWS, Wardrobe, draw_wardrobe
from posewire.synth.visibility import FACE_AZIMUTHS, joint_visibility

__all__ = ["PosedPerson", "can_be_posed", "paint_posed"]


_ROW = {name: row for row, name in enumerate(COCO17.names)}
_FACE_ROWS = [_ROW[name] for name in FACE]
_BODY_ROWS = [row for row in range(len(COCO17)) if row not in _FACE_ROWS]
_TRUNK_M = 0.28
"""Distance from the middle of the shoulders to the middle of the hips, in body heights."""
_LEAST_TRUNK = 0.4
"""A trunk that appears shorter than this share of the length expected from the limbs points at the camera: skipped."""
_HEAD_YAWS = np.radians(np.arange(-180.0, 180.0, 15.0))


@dataclass(frozen=True)
class PosedPerson:
    """The ground truth of a painted person.

    Attributes:
        joints: `(19, 3)` float32 in the order of `posewire.joints.NANO19`: x, y, and 0 outside the picture, 1 hidden, 2
            visible.
        box: `(4,)` xyxy around the whole body, hidden parts included, clipped to the picture.
        visible_fraction: visible pixels of the body, as a share of those it has without occlusion.
    """

    joints: Float32s
    box: Float32s
    visible_fraction: float


def can_be_posed(labels: Float32s) -> npt.NDArray[np.bool_]:
    """Which labels `(n, 17, 3)`, COCO's x, y, v, are sufficient: with all joints below the head and two of the face."""
    known = labels[..., 2] > 0
    return np.asarray(known[:, _BODY_ROWS].all(axis=1) & (known[:, _FACE_ROWS].sum(axis=1) >= 2))


def paint_posed(
    image: Image, poses: Sequence[Float32s], rng: np.random.Generator, cloths: Sequence[Image] = ()
) -> list[PosedPerson]:
    """Paint people onto a picture, each in front of those painted earlier.

    Args:
        image: `(h, w, 3)` uint8 RGB; modified.
        poses: labels `(17, 3)` that `can_be_posed`, in pixels of the picture.
        rng: for bodies, clothes and everything that the labels leave open.
        cloths: any pictures `(h, w, 3)`, from which some of the clothes are cut.

    Returns:
        The painted people, without those seen from above or below and those completely covered.
    """
    canvas = np.dstack([image, np.zeros(image.shape[:2], np.uint8)])
    labels = np.zeros(image.shape[:2], np.uint16)
    actors, covered = [], []
    for person, pose in enumerate(poses):
        shape = draw_shape(rng)
        scale = _pixels_a_metre(shape, pose)
        if scale is None:
            continue
        figure = Figure(shape, _dressed(rng, person, cloths), scale)
        posed = _posed(figure, pose, scale, rng)
        actor = Actor(person, figure, posed, posed.maps, 0.0, (0.0, 0.0, scale))
        pixels = put_figure(canvas, labels, actor)
        if pixels:
            actors.append(actor)
            covered.append(pixels)
    image[:] = canvas[..., :3]
    counts = np.bincount(labels.ravel(), minlength=label_of(len(poses)))[1:].reshape(-1, len(PARTS)).sum(axis=1)
    return [
        _truth(actor, labels, counts[actor.person] / pixels)
        for actor, pixels in zip(actors, covered, strict=True)
        if counts[actor.person]
    ]


def _truth(actor: Actor, labels: npt.NDArray[np.uint16], visible_fraction: float) -> PosedPerson:
    height, width = labels.shape
    joints = np.zeros((len(NANO19), 3), np.float32)
    joints[:, :2] = actor.pose.joints[: len(NANO19)]
    joints[:, 2] = joint_visibility(actor, actor.pose.joints[: len(NANO19)], labels)
    outline = actor.outline
    box = np.array([*outline.min(axis=(0, 1)), *outline.max(axis=(0, 1))])
    box = np.clip(box, 0.0, [width - 1, height - 1, width - 1, height - 1])
    return PosedPerson(joints, box.astype(np.float32), float(visible_fraction))


def _dressed(rng: np.random.Generator, person: int, cloths: Sequence[Image]) -> Wardrobe:
    """Drawn clothes, about half of them replaced by pieces of pictures."""
    wardrobe = draw_wardrobe(rng, person)
    if not cloths or rng.random() < 0.4:
        return wardrobe

    def piece() -> Image:
        cloth = cloths[int(rng.integers(len(cloths)))]
        height, width = cloth.shape[:2]
        side = int(min(height, width) * rng.uniform(0.1, 0.5))
        y, x = int(rng.integers(height - side)), int(rng.integers(width - side))
        # Mirrored once, so that the ends meet at the back.
        half = cv2.resize(cloth[y : y + side, x : x + side], (COLUMNS // 2, ROWS), interpolation=cv2.INTER_AREA)
        return np.concatenate([half, half[:, ::-1]], axis=1)

    above, below = piece(), piece()
    worn = {"torso": above, "hips": below, "upper_arm": above, "forearm": above, "thigh": below, "shin": below}
    return replace(wardrobe, **{name: cloth for name, cloth in worn.items() if rng.random() < 0.8})


def _pixels_a_metre(shape: BodyShape, pose: Float32s) -> float | None:
    """The scale of a pose in pixels per metre; None if its trunk points at the camera."""
    at = {name: pose[row, :2].astype(np.float64) for name, row in _ROW.items()}
    seen = [float(np.linalg.norm(_middle(at, "shoulder") - _middle(at, "hip"))) / (_TRUNK_M * shape.height)]
    for side in ("left", "right"):
        seen += [
            float(np.linalg.norm(at[f"{side}_{start}"] - at[f"{side}_{end}"])) / metres
            for start, end, metres in (
                ("shoulder", "elbow", shape.upper_arm),
                ("elbow", "wrist", shape.forearm),
                ("hip", "knee", shape.thigh),
                ("knee", "ankle", shape.shin),
            )
        ]
    # Foreshortening only makes parts shorter, so the larger scales are more reliable.
    scale = float(np.quantile(seen, 0.75))
    return scale if seen[0] > _LEAST_TRUNK * scale > 0 else None


def _posed(figure: Figure, pose: Float32s, scale: float, rng: np.random.Generator) -> Pose2D:
    shape, metre = figure.shape, scale
    unit = shape.height * metre  # pixels of a body height
    joints = np.zeros((len(JOINTS), 2))
    joints[: len(COCO17)] = pose[:, :2]
    at = {name: joints[row] for name, row in JOINTS.items()}  # views
    shoulders, hips = _middle(at, "shoulder"), _middle(at, "hip")
    down = (hips - shoulders) / np.linalg.norm(hips - shoulders)
    across = np.array([down[1], -down[0]])  # to the right of the picture, if the person stands upright
    tall = float(np.linalg.norm(hips - shoulders)) / _TRUNK_M  # like `unit`, but measured along the trunk

    at["pelvis"][:] = hips
    at["neck_base"][:] = shoulders - 0.012 * tall * down
    at["shirt_top"][:] = at["neck_base"] - 0.028 * tall * down
    at["shirt_hem"][:] = hips + 0.035 * tall * down
    head_yaw = _place_head(at, pose, unit, down)
    yaw = _trunk_yaw(at, across, 2 * shape.shoulder * metre, head_yaw, rng)
    for side in ("left", "right"):
        forearm = at[f"{side}_wrist"] - at[f"{side}_elbow"]
        at[f"{side}_hand"][:] = at[f"{side}_wrist"] + 0.085 * unit * _direction(forearm, down)
        shin = _direction(at[f"{side}_ankle"] - at[f"{side}_knee"], down)
        sideways = np.array([shin[1], -shin[0]])
        ankle, forward = at[f"{side}_ankle"], np.sin(yaw) * sideways
        at[f"{side}_toe"][:] = ankle + unit * (0.105 * forward + (0.03 + 0.03 * abs(np.cos(yaw))) * shin)
        at[f"{side}_heel"][:] = ankle + unit * (0.02 * shin - 0.03 * forward)
    return figure.place(joints, _nearness(shape, pose, yaw, rng), scale, yaw=yaw, trunk_yaw=yaw, head_yaw=head_yaw)


def _place_head(at: dict[str, Float64s], pose: Float32s, unit: float, down: Float64s) -> float:
    """Fit neck, head and face to the labels of the face; returns the head's yaw."""
    known = [name for name in FACE if pose[_ROW[name], 2] > 0]
    labelled = np.array([at[name].copy() for name in known])
    axis = _direction(at["neck_base"] - labelled.mean(axis=0), down)  # from crown to chin
    axis = _direction(axis + 0.5 * down, down)
    sideways = np.array([axis[1], -axis[0]])
    best: tuple[float, float, Float64s] | None = None
    for yaw in _HEAD_YAWS.tolist():
        offsets = np.array([_on_head(name, yaw, unit, axis, sideways) for name in known])
        centre = (labelled - offsets).mean(axis=0)
        error = float(np.square((labelled - offsets - centre) / (HEAD_WIDTH * unit)).sum(axis=1).mean())
        for name, (azimuth, limit) in FACE_AZIMUTHS.items():
            turned = abs(np.angle(np.exp(1j * (np.radians(azimuth) + yaw))))
            error += 0.5 * float((turned < np.radians(limit)) != (pose[_ROW[name], 2] == 2))
        if best is None or error < best[0]:
            best = error, yaw, centre
    assert best is not None
    _, yaw, centre = best
    half = 0.5 * HEAD_LENGTH * unit * axis
    at["crown"][:], at["chin"][:] = centre - half, centre + half
    at["head_top"][:] = at["chin"] - 0.97 * 2 * half
    at["neck"][:] = at["neck_base"] - 0.035 * unit * axis
    for name in FACE:
        at[name][:] = centre + _on_head(name, yaw, unit, axis, sideways)
    protruding = 0.008 * unit * np.sin(yaw) * sideways
    at["nose"][:] += protruding
    at["nose_top"][:] = at["nose"] - 0.5 * protruding - 0.016 * unit * axis
    at["nose_tip"][:] = at["nose"] + 0.004 * unit * axis
    return yaw


def _on_head(name: str, yaw: float, unit: float, axis: Float64s, sideways: Float64s) -> Float64s:
    """Position of a point of the face in the picture, relative to the middle of the head."""
    azimuth, drop = FACE[name]
    swell = float(head_profile(np.array([drop]))[0])
    across = HEAD_WIDTH * np.sin(azimuth) * np.cos(yaw) + HEAD_DEPTH * np.cos(azimuth) * np.sin(yaw)
    return np.asarray(unit * (swell * across * sideways + (drop - 0.5) * HEAD_LENGTH * axis))


def _trunk_yaw(
    at: dict[str, Float64s], across: Float64s, width: float, head_yaw: float, rng: np.random.Generator
) -> float:
    """Yaw of the trunk: the angle from the apparent width of the shoulders, the side from the direction of the head."""
    seen = float((at["left_shoulder"] - at["right_shoulder"]) @ across) / width
    turned = float(np.arccos(np.clip(seen, -1.0, 1.0)))
    side = np.sin(head_yaw) if abs(np.sin(head_yaw)) > 0.2 else rng.normal()
    return float(np.copysign(turned, side))


def _nearness(shape: BodyShape, pose: Float32s, yaw: float, rng: np.random.Generator) -> Float64s:
    """Metres by which joints are nearer than the middle of the body: by side, and by what hides or is hidden."""
    nearness = np.zeros(len(JOINTS))
    for side, sign in (("left", 1.0), ("right", -1.0)):
        for limb, half in ((("shoulder", "elbow", "wrist"), shape.shoulder), (("hip", "knee", "ankle"), shape.hip)):
            near = -sign * half * np.sin(yaw)
            for depth, joint in enumerate(limb):
                name = f"{side}_{joint}"
                hidden = pose[_ROW[name], 2] == 1
                reach = -0.22 if hidden else (0.14 if half == shape.shoulder else 0.04)
                nearness[JOINTS[name]] = near + (reach + 0.05 * rng.normal() if depth else 0.0)
        nearness[JOINTS[f"{side}_hand"]] = nearness[JOINTS[f"{side}_wrist"]]
        for part in ("toe", "heel"):
            nearness[JOINTS[f"{side}_{part}"]] = nearness[JOINTS[f"{side}_ankle"]]
    return nearness


def _middle(at: dict[str, Float64s], joint: str) -> Float64s:
    return np.asarray((at[f"left_{joint}"] + at[f"right_{joint}"]) / 2)


def _direction(vector: Float64s, otherwise: Float64s) -> Float64s:
    """The vector scaled to length 1; `otherwise` if its length is 0."""
    length = float(np.linalg.norm(vector))
    return vector / length if length > 1e-6 else otherwise
