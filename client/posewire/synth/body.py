"""Bodies: individual proportions, and the joints of a body in a given posture.

Body coordinates are in metres: left (the person's), up (from the ground), forward. The gait follows the joint angles of
normal walking (Winter, *Biomechanics and Motor Control of Human Movement*: hip and knee flexion over one stride).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from posewire.array_types import Float64s
from posewire.joints import NANO19

__all__ = ["JOINTS", "BodyShape", "Posture", "draw_shape", "place_joints", "stride_length"]


_EXTRA = ("pelvis", "neck_base", "chin", "crown", "left_hand", "right_hand", "left_toe", "right_toe",
          "left_heel", "right_heel", "shirt_top", "shirt_hem", "nose_top", "nose_tip")  # fmt: skip
JOINTS: dict[str, int] = {name: row for row, name in enumerate((*NANO19.names, *_EXTRA))}
"""Rows of a placed body: first the 19 joints of NANO19, then points that are only used for drawing."""

_STRIDE = np.linspace(0.0, 1.0, 11)
# Flexion in degrees over one stride, heel strike to heel strike.
_HIP = np.array([28, 25, 15, 5, -5, -11, -5, 12, 27, 31, 28.0])
_KNEE = np.array([4, 16, 14, 7, 5, 14, 38, 60, 46, 16, 4.0])


@dataclass(frozen=True)
class BodyShape:
    """Proportions of one person in metres. Widths are half-widths."""

    height: float
    shoulder: float
    hip: float
    upper_arm: float
    forearm: float
    thigh: float
    shin: float
    torso_depth: float
    girth: float
    """Factor for the thickness of limbs and waist: 0.85 is slim, 1.25 heavy."""
    arm_swing: float
    knee_lift: float


class Posture(NamedTuple):
    """The posture of a body at one moment; angles in radians, amounts in 0..1."""

    phase: float
    """Phase of the gait, in strides."""
    walk: float
    """Amplitude of the gait: 0 is standing, 1 walking, up to 1.5 running."""
    wave: float
    """How far the waving arm is raised."""
    wave_left: bool
    wave_phase: float
    crouch: float
    look: float
    """Yaw of the head relative to the body, positive towards the person's left."""


def draw_shape(rng: np.random.Generator) -> BodyShape:
    """Draw the proportions of one person, from a child of 1.35 m to a tall adult."""
    height = float(np.clip(rng.normal(1.72, 0.11), 1.35, 1.98))
    girth = float(rng.uniform(0.88, 1.25))
    return BodyShape(
        height=height,
        shoulder=height * float(rng.uniform(0.100, 0.120)),
        hip=height * float(rng.uniform(0.052, 0.062)),
        upper_arm=height * float(rng.uniform(0.165, 0.180)),
        forearm=height * float(rng.uniform(0.140, 0.153)),
        thigh=height * float(rng.uniform(0.232, 0.248)),
        shin=height * float(rng.uniform(0.232, 0.246)),
        torso_depth=height * 0.062 * girth,
        girth=girth,
        arm_swing=float(rng.uniform(0.6, 1.2)),
        knee_lift=float(rng.uniform(0.85, 1.15)),
    )


def stride_length(shape: BodyShape, walk: float) -> float:
    """Metres covered by one stride such that feet do not slide: twice the reach of the hip swing."""
    swing = np.radians((_HIP.max() - _HIP.min()) * _swing(walk))
    return float(2.0 * (shape.thigh + shape.shin) * 2.0 * np.sin(swing / 2.0) * 0.98)


def _swing(walk: float) -> float:
    return 0.25 + 0.75 * walk


def place_joints(shape: BodyShape, posture: Posture) -> Float64s:
    """Joints of a body at the origin that faces forward: `(len(JOINTS), 3)` left, up, forward in metres."""
    body = np.zeros((len(JOINTS), 3))
    lean = np.radians(2.0 + 5.0 * max(0.0, posture.walk - 0.6) + 22.0 * posture.crouch)
    twist = np.radians(6.0) * posture.walk * np.sin(2 * np.pi * posture.phase)
    _place_legs(body, shape, posture)
    _place_trunk(body, shape, lean, twist, posture.look)
    _place_arm(body, shape, posture, side=1.0, lean=lean)
    _place_arm(body, shape, posture, side=-1.0, lean=lean)
    return body


def _place_legs(body: Float64s, shape: BodyShape, posture: Posture) -> None:
    for side, name in ((1.0, "left"), (-1.0, "right")):
        stride = (posture.phase + (0.5 if side < 0 else 0.0)) % 1.0
        hip_angle = np.radians(np.interp(stride, _STRIDE, _HIP)) * _swing(posture.walk) * min(1.0, posture.walk * 2)
        knee_angle = np.radians(np.interp(stride, _STRIDE, _KNEE)) * posture.walk * shape.knee_lift
        knee_angle += np.radians(3.0) + np.radians(100.0) * posture.crouch
        hip_angle += np.radians(60.0) * posture.crouch
        shin_angle = hip_angle - knee_angle
        hip = np.array([side * shape.hip, 0.0, 0.0])
        knee = hip + shape.thigh * np.array([0.0, -np.cos(hip_angle), np.sin(hip_angle)])
        ankle = knee + shape.shin * np.array([0.0, -np.cos(shin_angle), np.sin(shin_angle)])
        pitch = shin_angle * (0.75 if shin_angle < 0 else 0.45) * (1.0 - posture.crouch)
        along = np.array([side * 0.12, np.sin(pitch), np.cos(pitch)])
        down = np.array([0.0, -np.cos(pitch), np.sin(pitch)]) * 0.036 * shape.height
        body[JOINTS[f"{name}_hip"]] = hip
        body[JOINTS[f"{name}_knee"]] = knee
        body[JOINTS[f"{name}_ankle"]] = ankle
        body[JOINTS[f"{name}_toe"]] = ankle + 0.105 * shape.height * along + 0.62 * down
        body[JOINTS[f"{name}_heel"]] = ankle - 0.03 * shape.height * along + 0.55 * down
    soles = [JOINTS[f"{side}_{part}"] for side in ("left", "right") for part in ("toe", "heel")]
    body[:, 1] -= body[soles, 1].min() - 0.016 * shape.height  # the lowest sole stands on the ground


def _place_trunk(body: Float64s, shape: BodyShape, lean: float, twist: float, look: float) -> None:
    height = shape.height
    pelvis = (body[JOINTS["left_hip"]] + body[JOINTS["right_hip"]]) / 2
    up = np.array([0.0, np.cos(lean), np.sin(lean)])
    across = np.array([np.cos(twist), 0.0, np.sin(twist)])
    neck_base = pelvis + 0.292 * height * up
    body[JOINTS["pelvis"]] = pelvis
    body[JOINTS["neck_base"]] = neck_base
    body[JOINTS["left_shoulder"]] = neck_base - 0.012 * height * up + shape.shoulder * across
    body[JOINTS["right_shoulder"]] = neck_base - 0.012 * height * up - shape.shoulder * across
    body[JOINTS["shirt_top"]] = neck_base + 0.028 * height * up
    body[JOINTS["shirt_hem"]] = pelvis - 0.035 * height * up
    # The head stays nearly upright when the trunk leans.
    nod = 0.3 * lean
    head_up = np.array([0.0, np.cos(nod), np.sin(nod)])
    forward = np.array([np.sin(look), -np.sin(nod), np.cos(look)])
    left = np.array([np.cos(look), 0.0, -np.sin(look)])
    chin = neck_base + 0.048 * height * up + 0.012 * height * np.array([0.0, 0.0, 1.0])
    crown = chin + HEAD_LENGTH * height * head_up
    body[JOINTS["chin"]], body[JOINTS["crown"]] = chin, crown
    body[JOINTS["neck"]] = neck_base + 0.035 * height * up
    body[JOINTS["head_top"]] = chin + 0.97 * HEAD_LENGTH * height * head_up
    for name, (azimuth, drop) in FACE.items():
        swell = head_profile(np.array([drop]))[0]
        reach = height * swell * (HEAD_WIDTH * np.sin(azimuth) * left + HEAD_DEPTH * np.cos(azimuth) * forward)
        body[JOINTS[name]] = crown + drop * (chin - crown) + reach
    protruding = 0.008 * height * forward
    body[JOINTS["nose"]] += protruding
    body[JOINTS["nose_top"]] = body[JOINTS["nose"]] - 0.5 * protruding + 0.016 * height * head_up
    body[JOINTS["nose_tip"]] = body[JOINTS["nose"]] - 0.004 * height * head_up


def _place_arm(body: Float64s, shape: BodyShape, posture: Posture, side: float, lean: float) -> None:
    name = "left" if side > 0 else "right"
    # The arm swings with the opposite leg.
    swing = np.cos(2 * np.pi * (posture.phase + (0.5 if side > 0 else 0.0)))
    angle = np.radians(4.0) + np.radians(24.0) * shape.arm_swing * posture.walk * swing - 0.5 * lean
    bend = np.radians(10.0 + 14.0 * posture.walk + 55.0 * max(0.0, posture.walk - 1.0))
    bend += np.radians(12.0) * posture.walk * max(0.0, swing)
    angle += np.radians(70.0) * posture.crouch
    spread = np.radians(9.0 + 3.0 * shape.girth)
    upper = np.array([side * np.sin(spread), -np.cos(angle) * np.cos(spread), np.sin(angle)])
    lower = np.array([side * 0.03, -np.cos(angle + bend), np.sin(angle + bend)])
    if posture.wave > 0.0 and posture.wave_left == (side > 0):
        sway = np.radians(28.0) * np.sin(posture.wave_phase)
        raised = np.array([side * 0.80, 0.45, 0.25])
        waving = np.array([side * np.sin(sway), np.cos(sway), 0.15])
        upper = upper + posture.wave * (raised - upper)
        lower = lower + posture.wave * (waving - lower)
    upper, lower = upper / np.linalg.norm(upper), lower / np.linalg.norm(lower)
    shoulder = body[JOINTS[f"{name}_shoulder"]]
    elbow = shoulder + shape.upper_arm * upper
    wrist = elbow + shape.forearm * lower
    body[JOINTS[f"{name}_elbow"]] = elbow
    body[JOINTS[f"{name}_wrist"]] = wrist
    body[JOINTS[f"{name}_hand"]] = wrist + 0.085 * shape.height * lower


HEAD_LENGTH, HEAD_WIDTH, HEAD_DEPTH = 0.132, 0.046, 0.056
"""Length from chin to crown, half-width and half-depth of a head, in body heights."""

# Azimuth from straight ahead towards the person's left (radians), and distance from crown (0) to chin (1).
FACE: dict[str, tuple[float, float]] = {
    "nose": (0.0, 0.60),
    "left_eye": (np.radians(27.0), 0.47),
    "right_eye": (np.radians(-27.0), 0.47),
    "left_ear": (np.radians(97.0), 0.54),
    "right_ear": (np.radians(-97.0), 0.54),
}


def head_profile(t: Float64s) -> Float64s:
    """Half-width of a head at `t` (0 crown, 1 chin), relative to the widest: an egg with its tip at the chin."""
    u = np.clip(2.0 * t - 1.0, -1.0, 1.0)
    return np.sqrt(np.maximum(0.0, 1.0 - np.abs(u) ** 2.3)) * (1.0 - 0.16 * np.clip(u, 0.0, 1.0) ** 1.2)
