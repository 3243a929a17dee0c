"""Faults of a known size that stand in for those of real detectors and pose networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FAULTS", "Faults", "missed_frames"]

# name: (lowest, highest, unit). One table, so that the message and the check cannot differ.
_RANGES: dict[str, tuple[float, float, str]] = {
    "missed": (0.0, 0.9, "of the detections"),
    "missed_run_frames": (1.0, 100.0, "frames"),
    "box_jitter": (0.0, 0.5, "of the box's side"),
    "joint_jitter": (0.0, 2.0, "times the joint's OKS scale"),
    "phantoms": (0, 20, "places"),
    "phantom_rate": (0.0, 1.0, "of the frames"),
    "rate_divisor": (1, 25, "frames"),
}


@dataclass(frozen=True)
class Faults:
    """What goes wrong, and how much.

    Attributes:
        missed: share of the detections that are left out, over and above people who are mostly hidden.
        missed_run_frames: mean length of a run of missed detections of one person: detectors fail for a reason that
            lasts. At a lower frame rate it is shorter, as the reason is.
        box_jitter: standard deviation of each edge of a detection, of the box's side.
        joint_jitter: standard deviation of each joint, times the OKS scale of that joint (kappa times the root of the
            person's area), about what annotators disagree by at 0.5.
        phantoms: places in the scene where the detector sees people who are not there, and the pose network too.
        phantom_rate: share of the frames in which it does.
        rate_divisor: one frame of so many is taken.

    Raises:
        ValueError: a value is out of range.
    """

    missed: float = 0.0
    missed_run_frames: float = 4.0
    box_jitter: float = 0.0
    joint_jitter: float = 0.0
    phantoms: int = 0
    phantom_rate: float = 0.1
    rate_divisor: int = 1

    def __post_init__(self) -> None:
        for name, (low, high, unit) in _RANGES.items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                raise ValueError(f"{name} is {value}; it must be in {low:g}..{high:g} {unit}")


FAULTS: dict[str, Faults] = {
    "none": Faults(),
    "missed": Faults(missed=0.2),
    "jitter": Faults(box_jitter=0.06, joint_jitter=0.3),
    "false": Faults(phantoms=4, phantom_rate=0.12),
    "low-rate": Faults(rate_divisor=3),
    "all": Faults(missed=0.15, box_jitter=0.04, joint_jitter=0.2, phantoms=3, phantom_rate=0.08),
}
"""One fault at a time, and a bit of each (but for the frame rate) together."""


def missed_frames(faults: Faults, frames: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """In which frames `(frames,)` the detector misses a person: a two-state chain, begun in its long-run mixture."""
    if faults.missed == 0.0:
        return np.zeros(frames, np.bool_)
    found_again = 1.0 / max(1.0, faults.missed_run_frames / faults.rate_divisor)
    lost = min(1.0, found_again * faults.missed / (1.0 - faults.missed))
    draws = rng.random(frames + 1)
    missed = np.zeros(frames, np.bool_)
    state = bool(draws[-1] < faults.missed)
    for frame in range(frames):
        missed[frame] = state
        state = bool(draws[frame] >= found_again) if state else bool(draws[frame] < lost)
    return missed
