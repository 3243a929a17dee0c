"""What a network computes and moves, counted layer by layer; multiply-adds as in the paper's tables."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["NetworkCost", "count_parameters", "network_cost", "network_cost_at"]

_COMPUTING = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


@dataclass(frozen=True)
class NetworkCost:
    """The cost of a network for one item of a batch, such as a crop or a pair of frames.

    Attributes:
        multiply_adds: of all convolutions and linear layers; transposed convolutions are counted at their input.
        parameters: number of learned values, which are read once per batch.
        activations: number of values that these layers read and write. Layers between them (norms, ReLUs, sums) are
            assumed to be fused, so this is the minimum that must be moved without caches.
    """

    multiply_adds: int
    parameters: int
    activations: int

    def bytes_moved(self, batch: int, item_bytes: int) -> int:
        """Bytes moved for a batch of `batch` items, with `item_bytes` per value."""
        return (self.parameters + batch * self.activations) * item_bytes


def count_parameters(network: nn.Module) -> int:
    """Number of trainable parameters."""
    return sum(parameter.numel() for parameter in network.parameters())


def network_cost(network: nn.Module, input_shape: tuple[int, int, int]) -> NetworkCost:
    """Cost of a network that takes a tensor. Nothing is computed, and `network` is not changed.

    Args:
        network: takes `(b, *input_shape)`.
        input_shape: (channels, height, width).
    """
    on_meta = copy.deepcopy(network).to("meta").eval()
    return _counted(on_meta, torch.empty(1, *input_shape, device="meta"))


def network_cost_at(network: nn.Module, example: Any) -> NetworkCost:
    """Cost of a network whose path depends on its input, such as torchvision's detectors: it is run on `example`."""
    return _counted(network.eval(), example)


def _counted(network: nn.Module, example: Any) -> NetworkCost:
    multiply_adds = activations = 0

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal multiply_adds, activations
        assert isinstance(module, _COMPUTING)
        multiply_adds += _multiply_adds(module, inputs[0], output)
        activations += inputs[0].numel() + output.numel()

    hooks = [module.register_forward_hook(count) for module in network.modules() if isinstance(module, _COMPUTING)]
    try:
        with torch.inference_mode():
            network(example)
    finally:
        for hook in hooks:
            hook.remove()
    return NetworkCost(multiply_adds, count_parameters(network), activations)


def _multiply_adds(module: nn.Module, given: Tensor, output: Tensor) -> int:
    weights = module.weight
    assert isinstance(weights, Tensor)
    if isinstance(module, nn.Linear):
        return output.numel() // module.out_features * weights.numel()
    places = given if isinstance(module, nn.ConvTranspose2d) else output
    batch, _, height, width = places.shape
    return batch * height * width * weights.numel()
