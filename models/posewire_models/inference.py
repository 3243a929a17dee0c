"""Running networks: devices, folded batch norms, batches of a few fixed shapes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

__all__ = ["MAX_BATCH", "batches", "pad_batch", "prepare", "select_device"]

Network = TypeVar("Network", bound=nn.Module)

MAX_BATCH = 32
"""Items that go through a network at once."""
_BATCH_SIZES = (1, 2, 4, 8, 16, MAX_BATCH)


def select_device(name: str) -> torch.device:
    """`cpu`, `cuda`, `cuda:1` ...; `auto` takes the first GPU, or the CPU where there is none.

    Raises:
        ValueError: no such device here.
    """
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N")
    device = torch.device(name)
    if device.type == "cuda" and not (device.index or 0) < torch.cuda.device_count():
        raise ValueError(f"device {name!r} is not here ({torch.cuda.device_count()} GPUs found); use auto or cpu")
    return device


def prepare(network: Network, device: torch.device) -> Network:
    """Make `network` ready to be run, in place: evaluation mode, batch norms folded, channels last, on `device`."""
    network.eval().requires_grad_(False)
    _fold_batch_norms(network)
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def batches(count: int, size: int = MAX_BATCH) -> Iterator[slice]:
    """Slices of at most `size` that cover `range(count)`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def pad_batch(batch: Tensor) -> Tensor:
    """On an accelerator, `batch` filled up to the next of a few fixed sizes; on a CPU, where that costs, as it is."""
    if batch.device.type == "cpu":
        return batch
    size = next(size for size in _BATCH_SIZES if size >= len(batch))
    return torch.cat((batch, batch.new_zeros((size - len(batch), *batch.shape[1:]))))


def _fold_batch_norms(network: nn.Module) -> None:
    """Fold each batch norm into the convolution registered right before it, which feeds it in all our networks."""
    for module in network.modules():
        children = list(module.named_children())
        for (conv_name, conv), (norm_name, norm) in pairwise(children):
            if isinstance(norm, nn.BatchNorm2d) and isinstance(conv, nn.Conv2d | nn.ConvTranspose2d):
                folded = fuse_conv_bn_eval(conv, norm, transpose=isinstance(conv, nn.ConvTranspose2d))
                setattr(module, conv_name, folded)
                setattr(module, norm_name, nn.Identity())
