"""The length of a run, and its learning rate as a function of the share that is done, by samples or by the clock."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["ScheduleConfig"]


@dataclass(frozen=True, kw_only=True)
class ScheduleConfig:
    """Length of a run and its learning rate.

    Exactly one of `epochs` and `samples` gives the length of the run. With `max_minutes`, the same schedule is fitted
    to that wall time instead.

    Attributes:
        epochs: passes over all examples.
        samples: total number of examples.
        max_minutes: wall time of the run, including the parts before it was resumed.
        batch_size: examples per step, over all processes.
        lr: highest learning rate.
        shape: `step` (a tenth after each milestone) or `cosine` (down to `lr * floor`).
        milestones: of `step`, in epochs, or as shares of the run (0..1) if its length is given in samples.
        floor: of `cosine`, relative to `lr`.
        warmup: share of the run in which the rate rises linearly to `lr`.
        weight_decay: of AdamW; 0 makes it the paper's Adam.
    """

    batch_size: int
    lr: float
    epochs: int = 0
    samples: int = 0
    max_minutes: float = 0.0
    shape: str = "step"
    milestones: tuple[float, ...] = ()
    floor: float = 0.01
    warmup: float = 0.0
    weight_decay: float = 0.0

    def __post_init__(self) -> None:
        if not all(math.isfinite(value) for value in (self.lr, self.max_minutes, self.weight_decay)):
            raise ValueError(
                f"schedule: lr {self.lr}, max_minutes {self.max_minutes} and weight_decay {self.weight_decay} must be "
                "finite"
            )
        if self.batch_size < 1 or self.lr <= 0:
            raise ValueError(f"schedule: batch_size {self.batch_size} must be at least 1 and lr {self.lr} above 0")
        if min(self.epochs, self.samples) < 0 or (self.epochs > 0) == (self.samples > 0):
            raise ValueError(
                "schedule: give epochs or samples, one of them above 0, the other 0; got "
                f"{self.epochs} and {self.samples}"
            )
        if self.max_minutes < 0 or not 0 <= self.warmup < 1 or not 0 <= self.floor <= 1 or self.weight_decay < 0:
            raise ValueError(
                "schedule: max_minutes and weight_decay must not be negative, warmup and floor lie in 0..1"
            )
        if self.shape not in ("step", "cosine"):
            raise ValueError(f"schedule: shape {self.shape!r} must be 'step' or 'cosine'")
        end = self.epochs or 1
        if list(self.milestones) != sorted(self.milestones) or any(not 0 < point < end for point in self.milestones):
            unit = "epochs" if self.epochs else "the whole run"
            raise ValueError(f"schedule: milestones {self.milestones} must rise and lie between 0 and {end} ({unit})")

    def steps(self, examples: int) -> int:
        """Steps of the run over a set of this many examples."""
        batch = self.batch_of(examples)
        return self.epochs * (examples // batch) if self.epochs else math.ceil(self.samples / batch)

    def batch_of(self, examples: int) -> int:
        """Examples per step for a set of this many: a small set has smaller batches."""
        return max(min(self.batch_size, examples), 1)

    def rate(self, done: float) -> float:
        """Learning rate after the share `done` (0..1) of the run."""
        if done < self.warmup:
            return self.lr * max(done / self.warmup, 0.01)
        if self.shape == "cosine":
            part = (done - self.warmup) / (1 - self.warmup)
            return self.lr * (self.floor + (1 - self.floor) * (1 + math.cos(math.pi * min(part, 1.0))) / 2)
        # A tolerance of 1e-6: 90 / 140 of the run must count as the 90th epoch despite rounding.
        passed = sum(done * (self.epochs or 1) >= point - 1e-6 for point in self.milestones)
        return float(self.lr * 0.1**passed)
