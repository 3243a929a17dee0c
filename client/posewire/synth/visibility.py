"""Which joints are visible, determined from the labels of the rendered frame."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from posewire.array_types import Float64s
from posewire.joints import NANO19
from posewire.synth.figure import PART_ROW
from posewire.synth.layout import label_of
from posewire.synth.stage import Actor

__all__ = ["FACE_AZIMUTHS", "joint_visibility"]


def _own_parts() -> tuple[list[frozenset[int]], dict[int, float]]:
    """For each joint of NANO19 the parts that show it; and the joints that the trunk shows too if near enough."""
    skull, own = {PART_ROW["head"], PART_ROW["nose"]}, []
    trunk: dict[int, float] = {}
    limbs = {"elbow": ("upper_arm", "forearm"), "wrist": ("forearm", "hand"), "knee": ("thigh", "shin"),
             "ankle": ("shin", "foot"), "shoulder": ("upper_arm",), "hip": ("thigh",)}  # fmt: skip
    for row, name in enumerate(NANO19.names):
        side, _, joint = name.partition("_")
        if joint in limbs:
            own.append(frozenset(PART_ROW[f"{side}_{part}"] for part in limbs[joint]))
            if joint in ("shoulder", "hip"):
                trunk[row] = -0.07
        else:
            own.append(frozenset(skull | ({PART_ROW["neck"], PART_ROW["torso"]} if name == "neck" else set())))
    return own, trunk


_OWN_PARTS, _SHOWN_BY_TRUNK = _own_parts()
_TRUNK_PARTS = frozenset({PART_ROW["torso"], PART_ROW["hips"]})
FACE_AZIMUTHS = {"nose": (0.0, 98.0), "left_eye": (27.0, 84.0), "right_eye": (-27.0, 84.0),
                  "left_ear": (97.0, 95.0), "right_ear": (-97.0, 95.0)}  # fmt: skip
"""Azimuth of each point of the face, and the largest angle from the camera at which it is visible, degrees."""


def joint_visibility(actor: Actor, joints: Float64s, labels: npt.NDArray[np.uint16]) -> list[int]:
    """Visibility of each joint `(19, 2)` of one person: 0 outside, 1 hidden, 2 visible."""
    height, width = labels.shape
    states = []
    for row, (x, y) in enumerate(np.rint(joints).astype(int).tolist()):
        if not (0 <= x < width and 0 <= y < height):
            states.append(0)
            continue
        part = int(labels[y, x]) - label_of(actor.person)
        seen = part in _OWN_PARTS[row]
        if row in _SHOWN_BY_TRUNK and part in _TRUNK_PARTS:
            seen = bool(actor.pose.nearness[row] > _SHOWN_BY_TRUNK[row])
        face = FACE_AZIMUTHS.get(NANO19.names[row])
        if face is not None:
            towards = np.angle(np.exp(1j * (np.radians(face[0]) + actor.pose.head_yaw)))
            seen = seen and bool(abs(towards) < np.radians(face[1]))
        states.append(2 if seen else 1)
    return states
