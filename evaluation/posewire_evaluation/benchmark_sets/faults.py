"""Faults of known size that stand in for those of real detectors and pose networks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["FAULTS", "Faults", "missed_frames"]

# name: (lowest, highest, unit). Used by both the check and its message.
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
    """Kind and size of faults.

    Attributes:
        missed: share of the detections that are left out, in addition to people who are mostly hidden.
        missed_run_frames: mean length of a run of missed detections of one person, in frames at the full rate, since
            causes of misses last for some time. At a lower frame rate runs have fewer frames.
        box_jitter: standard deviation of each edge of a detection, as a share of the box's side.
        joint_jitter: standard deviation of each joint, as a multiple of its OKS scale (kappa times the root of the
            person's area); about the disagreement of annotators at 0.5.
        phantoms: number of places in the scene where detector and pose network see people who are not there.
        phantom_rate: share of the frames in which they are detected.
        rate_divisor: every n-th frame is used.

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
"""One fault at a time, and all of them (except for the frame rate) together, each smaller."""


def missed_frames(faults: Faults, frames: int, rng: np.random.Generator) -> npt.NDArray[np.bool_]:
    """In which frames `(frames,)` the detector misses a person: a two-state Markov chain in its stationary state."""
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
