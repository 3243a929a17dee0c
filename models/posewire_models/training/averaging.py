"""Averaged weights: those that a run measures and saves for use."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["AveragedWeights"]


class AveragedWeights:
    """Exponential average of a network's weights and of its batch norm statistics.

    At first the average follows faster (decay `(1 + step) / (10 + step)`), so that it forgets the random start.

    Args:
        network: the network that is trained.
        decay: share of the average that is kept at each step.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.state = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Update the average with the weights after this step; counters are copied."""
        decay = min(self.decay, (1 + step) / (10 + step))
        old: list[Tensor] = []
        new: list[Tensor] = []
        for name, value in network.state_dict().items():
            if value.is_floating_point():
                old.append(self.state[name])
                new.append(value)
            else:
                self.state[name].copy_(value)
        torch._foreach_lerp_(old, new, 1 - decay)

    def restore(self, state: dict[str, Tensor]) -> None:
        """Continue from a saved average."""
        self.state = {name: state[name].to(value.device) for name, value in self.state.items()}
