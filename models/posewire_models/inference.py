"""Running networks: devices, runtimes, folded batch norms, batches of a few fixed shapes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from posewire_models.openvino_runtime import OpenVinoNetwork, openvino_is_installed

__all__ = ["MAX_BATCH", "RUNTIMES", "batches", "pad_batch", "prepare", "runner", "select_device", "select_runtime"]

Network = TypeVar("Network", bound=nn.Module)

RUNTIMES = ("auto", "torch", "openvino")
"""What may run the networks on a CPU; `auto` takes OpenVINO where it is installed."""
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


def select_runtime(name: str, device: torch.device) -> str:
    """`torch` or `openvino`: what is to run networks on `device`.

    Args:
        name: one of `RUNTIMES`.
        device: of the networks.

    Raises:
        ValueError: unknown, not installed, or not for this device.
    """
    if name not in RUNTIMES:
        raise ValueError(f"unknown runtime {name!r}; use {', '.join(RUNTIMES)}")
    installed = openvino_is_installed()
    if name == "auto":
        return "openvino" if installed and device.type == "cpu" else "torch"
    if name == "openvino" and not installed:
        raise ValueError("OpenVINO is not installed: pip install 'posewire[openvino]', or use runtime torch")
    if name == "openvino" and device.type != "cpu":
        raise ValueError(f"OpenVINO runs networks on the CPU, not on {device}; use device cpu, or runtime torch")
    return name


def prepare(network: Network, device: torch.device) -> Network:
    """Make `network` ready to be run, in place: evaluation mode, batch norms folded, channels last, on `device`."""
    network.eval().requires_grad_(False)
    _fold_batch_norms(network)
    return network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def runner(
    network: nn.Module, input_shape: tuple[int, int, int], device: torch.device, runtime: str
) -> Callable[[Tensor], Any]:
    """What to call in place of `network`, which is taken over and prepared.

    Args:
        network: to be run.
        input_shape: (channels, height, width).
        device: of its inputs and outputs.
        runtime: one of `RUNTIMES`.

    Raises:
        ValueError: see `select_runtime`.
    """
    chosen = select_runtime(runtime, device)
    prepared = prepare(network, device)
    return OpenVinoNetwork(prepared, input_shape) if chosen == "openvino" else prepared


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
