"""The examples and random numbers of a step: functions only of the run's seed and the step's number."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

__all__ = ["example_order", "step_generator"]


def example_order(seed: int, examples: int, batch: int, start: int) -> Iterator[Tensor]:
    """Rows `(batch,)` of all steps from `start` on; each epoch is a new permutation without its incomplete batch."""
    batch = min(batch, examples)
    per_epoch = examples // batch
    while True:
        epoch, first = divmod(start, per_epoch)
        order = torch.randperm(examples, generator=torch.Generator().manual_seed((seed * 1_000_003 + epoch) % (2**63)))
        for number in range(first, per_epoch):
            yield order[number * batch : (number + 1) * batch]
        start = (epoch + 1) * per_epoch


def step_generator(seed: int, step: int, rank: int) -> torch.Generator:
    """The generator of all random numbers in one step of one process."""
    return torch.Generator().manual_seed(((seed * 1_000_003 + step) * 4_093 + rank) % (2**63))
