"""Settings of the training loop."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from posewire_models.training.devices import PRECISIONS
from posewire_models.training.schedule import ScheduleConfig

__all__ = ["MOST_THREADS", "LoopConfig"]

MOST_THREADS = 1024
"""Of the network, and of those that prepare examples."""


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """Settings of a run that do not depend on what is trained.

    Attributes:
        out: folder of the run: `checkpoint.pt`, `weights.safetensors` (averaged, half precision), `curves.csv`.
        seed: of everything random.
        schedule: length and learning rate.
        average: decay of the averaged weights per step (lower at first, Polyak with warm-up); 0 switches them off.
        precision: `auto`, `bf16` or `fp32` of the forward and backward pass; weights stay in fp32.
        checkpoint_every_s: seconds between checkpoints.
        measure_every_s: seconds between measurements on held-out data.
        log_every: steps between lines in the log.
        clip_gradient: largest norm of the gradient; 0 for no limit.
        threads: CPU threads of the network; 0 leaves the number unchanged.
        frozen: parts of the network that are not trained, including batch norms, by prefixes of their names, for
            example `features.0`. The first layers of a pretrained trunk are general, and cost most to train. On a CPU
            OpenVINO runs them, if it is installed.
        lr_factors: factors on the learning rate for parts of the network, named in the same way: for layers whose
            weights have far to go, such as those that predict sizes in cells. The longest matching name is used.
    """

    out: Path
    schedule: ScheduleConfig
    seed: int = 1
    average: float = 0.999
    precision: str = "auto"
    checkpoint_every_s: float = 180.0
    measure_every_s: float = 600.0
    log_every: int = 50
    clip_gradient: float = 0.0
    threads: int = 0
    frozen: tuple[str, ...] = ()
    lr_factors: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not 0 <= self.average < 1:
            raise ValueError(f"average {self.average} must be in 0..1, below 1; 0 switches averaging off")
        if self.precision not in PRECISIONS:
            raise ValueError(f"precision {self.precision!r} must be one of {', '.join(PRECISIONS)}")
        if min(self.checkpoint_every_s, self.measure_every_s) <= 0 or self.log_every < 1:
            raise ValueError("checkpoint_every_s, measure_every_s and log_every must be above 0")
        if any(factor <= 0 for factor in self.lr_factors.values()):
            raise ValueError(
                f"lr_factors {self.lr_factors} must be above 0; use frozen for parts that are not to learn"
            )
        if self.clip_gradient < 0:
            raise ValueError(f"clip_gradient {self.clip_gradient} must not be negative")
        if not 0 <= self.threads <= MOST_THREADS:
            raise ValueError(f"threads {self.threads} must be in 0..{MOST_THREADS}")
