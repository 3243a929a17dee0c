"""Joint names, skeletons, mirror pairs and OKS constants of the joint sets that posewire supports.

A `JointSet` defines what the `k` rows of a pose mean. Everything else in posewire treats poses as arrays `(n, k, 3)` of
x, y (pixels) and score; only code that needs a joint by name uses this module.

Sources: COCO-17 order, edges and sigmas from the COCO keypoint task (cocoapi `annotations` and `cocoeval.py`);
PoseTrack-15 order from the PoseTrack 2017 benchmark (poseval). COCO has no sigma for head top, head bottom and neck:
the first two use MMPose's value for PoseTrack18 (0.026, as for the nose), and the neck uses that of the shoulders.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from posewire.array_types import Float32s

__all__ = [
    "AREA_OF_BOX",
    "COCO17",
    "JOINT_SETS",
    "NANO19",
    "POSETRACK15",
    "POSETRACK2017_ORDER",
    "JointSet",
    "joint_rows",
    "joint_set",
    "joint_spelled",
]

AREA_OF_BOX = 0.53
"""Share of its box that a person in COCO fills on average: OKS needs the area of the person."""


@dataclass(frozen=True)
class JointSet:
    """An ordered set of joints.

    Attributes:
        name: its name in the configuration and on the wire, e.g. `coco17`.
        names: the `k` joint names in channel order.
        edges: pairs of joint indices that form the skeleton.
        sigmas: per-joint OKS standard deviation, `k` values (relative to the square root of the object's area).

    Raises:
        ValueError: lengths differ, a name is repeated, or an edge refers to a joint that does not exist.
    """

    name: str
    names: tuple[str, ...]
    edges: tuple[tuple[int, int], ...]
    sigmas: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(set(self.names)) != len(self.names):
            raise ValueError(f"joint set {self.name!r}: a name occurs twice in {self.names}; names must be unique")
        if len(self.sigmas) != len(self.names):
            raise ValueError(
                f"joint set {self.name!r}: {len(self.sigmas)} sigmas for {len(self.names)} joints; give one per joint"
            )
        for edge in self.edges:
            if not all(0 <= joint < len(self.names) for joint in edge):
                raise ValueError(f"joint set {self.name!r}: edge {edge} is outside 0..{len(self.names) - 1}")

    def __len__(self) -> int:
        return len(self.names)

    def index(self, joint: str) -> int:
        """Row of `joint`; raises `ValueError` with the names of the joints that exist."""
        try:
            return self.names.index(joint)
        except ValueError:
            raise ValueError(
                f"joint set {self.name!r} has no joint {joint!r}; it has {', '.join(self.names)}"
            ) from None

    @cached_property
    def mirror(self) -> npt.NDArray[np.intp]:
        """Permutation `(k,)` that swaps left and right joints, for flipped images: `flipped[mirror]`."""

        def twin(joint: str) -> str:
            side, _, part = joint.partition("_")
            return {"left": f"right_{part}", "right": f"left_{part}"}.get(side, joint)

        return np.array([self.index(twin(joint)) for joint in self.names], dtype=np.intp)

    def convert(self, joints: Float32s, to: JointSet) -> Float32s:
        """Select and reorder joints for another set, by name.

        Args:
            joints: `(n, k, 3)` x, y, score in this set's order.
            to: the target set. Joints that this set lacks get score 0 at the position (0, 0), unless they have a
                synonym or are the mean of two others, as the neck is the mean of the shoulders.

        Returns:
            `(n, len(to), 3)` float32.
        """
        converted = np.zeros((joints.shape[0], len(to), 3), dtype=np.float32)
        for row, joint in enumerate(to.names):
            parts = self._made_of(joint)
            if parts:
                converted[:, row, :2] = joints[:, parts, :2].mean(axis=1)
                converted[:, row, 2] = joints[:, parts, 2].min(axis=1)
        return converted

    def _made_of(self, joint: str) -> list[int]:
        """Indices whose mean is `joint`: itself, a synonym, or the shoulders for the neck; else empty."""
        for name in (joint, *_SYNONYMS.get(joint, ())):
            if name in self.names:
                return [self.names.index(name)]
        if joint in ("neck", "head_bottom") and {"left_shoulder", "right_shoulder"} <= set(self.names):
            return [self.names.index("left_shoulder"), self.names.index("right_shoulder")]
        return []


# PoseTrack's "head bottom" is the upper neck, like the "neck" of LSP and MPII.
_SYNONYMS = {"head_bottom": ("neck",), "neck": ("head_bottom",)}

_COCO_NAMES = (
    "nose",
    "left_eye",
    "right_eye",
    "left_ear",
    "right_ear",
    "left_shoulder",
    "right_shoulder",
    "left_elbow",
    "right_elbow",
    "left_wrist",
    "right_wrist",
    "left_hip",
    "right_hip",
    "left_knee",
    "right_knee",
    "left_ankle",
    "right_ankle",
)  # fmt: skip

_COCO_EDGES = (
    (15, 13), (13, 11), (16, 14), (14, 12), (11, 12), (5, 11), (6, 12), (5, 6), (5, 7), (6, 8), (7, 9), (8, 10),
    (1, 2), (0, 1), (0, 2), (1, 3), (2, 4), (3, 5), (4, 6),
)  # fmt: skip

_COCO_SIGMAS = (
    0.026, 0.025, 0.025, 0.035, 0.035, 0.079, 0.079, 0.072, 0.072, 0.062, 0.062,
    0.107, 0.107, 0.087, 0.087, 0.089, 0.089,
)  # fmt: skip

COCO17 = JointSet("coco17", _COCO_NAMES, _COCO_EDGES, _COCO_SIGMAS)
"""COCO's 17 joints."""

NANO19 = JointSet(
    "nano19",
    (*_COCO_NAMES, "neck", "head_top"),
    (*_COCO_EDGES, (0, 17), (17, 18)),
    (*_COCO_SIGMAS, 0.079, 0.026),
)
"""COCO's 17 joints, neck (upper neck, between head and shoulders) and head top: covers COCO-17 and PoseTrack-15."""

POSETRACK15 = JointSet(
    "posetrack15",
    ("nose", "head_bottom", "head_top", *_COCO_NAMES[5:]),
    (
        (2, 0), (0, 1), (1, 3), (1, 4), (3, 5), (5, 7), (4, 6), (6, 8), (3, 9), (4, 10), (9, 10),
        (9, 11), (11, 13), (10, 12), (12, 14),
    ),
    (0.026, 0.026, 0.026, *_COCO_SIGMAS[5:]),
)  # fmt: skip
"""The 15 joints that PoseTrack evaluates."""

POSETRACK2017_ORDER = (
    "right_ankle", "right_knee", "right_hip", "left_hip", "left_knee", "left_ankle", "right_wrist", "right_elbow",
    "right_shoulder", "left_shoulder", "left_elbow", "left_wrist", "head_bottom", "nose", "head_top",
)  # fmt: skip
"""The same joints in the order of their numbers 0..14 in PoseTrack 2017 files (poseval, `eval_helpers.Joint`)."""

JOINT_SETS: dict[str, JointSet] = {joints.name: joints for joints in (COCO17, NANO19, POSETRACK15)}


def joint_set(name: str) -> JointSet:
    """Look up a joint set by name.

    Raises:
        ValueError: unknown name; the message lists the known ones.
    """
    if name not in JOINT_SETS:
        raise ValueError(f"unknown joint set {name!r}; known sets: {', '.join(sorted(JOINT_SETS))}")
    return JOINT_SETS[name]


def joint_rows(joint_set: JointSet, names: Iterable[str]) -> list[int]:
    """Rows of the named joints; names that the joint set lacks are left out."""
    return [joint_set.names.index(name) for name in names if name in joint_set.names]


def joint_spelled(name: object) -> str:
    """A joint's name from another program, spelled as in this module: `left_eye` for `Left Eye` and `left-eye`."""
    return re.sub(r"[\s-]+", "_", str(name).strip().lower())
