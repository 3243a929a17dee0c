"""The cost of a network: parameters and multiply-adds, counted as in the paper's tables."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["count_multiply_adds", "count_parameters"]


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def count_multiply_adds(network: nn.Module, input_shape: Sequence[int]) -> int:
    """Multiply-adds of all convolutions in one forward pass at `input_shape` (including the batch).

    A transposed convolution is counted at its input, where each position is multiplied by the whole kernel once.
    Nothing is computed: `network` is moved to the meta device and stays there, so pass one that is no longer needed.
    """
    total = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total
        assert isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
        places = inputs[0] if isinstance(module, nn.ConvTranspose2d) else output
        batch, _, height, width = places.shape
        total += batch * height * width * module.weight.numel()

    hooks: list[Any] = [
        module.register_forward_hook(count)
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    try:
        with torch.inference_mode():
            network.to("meta").eval()(torch.empty(tuple(input_shape), device="meta"))
    finally:
        for hook in hooks:
            hook.remove()
    return total
