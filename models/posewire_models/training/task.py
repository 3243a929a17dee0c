"""The interface between the training loop and what it trains."""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Task"]


class Task(Protocol):
    """Something to train.

    Attributes:
        network: ready for training, on its device.
        examples: number of training examples.
    """

    network: nn.Module
    examples: int

    def batch(self, rows: Tensor, generator: torch.Generator) -> Any:
        """Inputs and targets of the examples `rows` `(b,)`; `generator` (on the CPU) is the only source of randomness.

        Runs in another thread, one step ahead.
        """
        ...

    def loss(self, network: nn.Module, batch: Any) -> Tensor:
        """Loss of the network on a result of `batch`."""
        ...

    def measure(self, network: nn.Module) -> dict[str, float]:
        """Figures on held-out data; `network` is in evaluation mode."""
        ...

    def picture(self, network: nn.Module) -> Tensor | None:
        """A contact sheet of results, uint8 `(3, h, w)`, or None; `network` is in evaluation mode."""
        ...
