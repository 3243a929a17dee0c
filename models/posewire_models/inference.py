"""Running networks: devices, runtimes, precisions, folded batch norms, a few fixed batch sizes."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from posewire_models.cuda_runtime import GraphedNetwork
from posewire_models.network_outputs import map_tensors
from posewire_models.openvino_runtime import OPENVINO_PRECISIONS, OpenVinoNetwork, openvino_is_installed
from posewire_models.precision import precision_name, select_precision
from posewire_models.specs import DEVICE, RUNTIMES

__all__ = [
    "BATCH_SIZES",
    "MAX_BATCH",
    "Execution",
    "batches",
    "is_lost",
    "pad_batch",
    "prepare",
    "runner",
    "select_device",
    "select_runtime",
]

log = logging.getLogger(__name__)

Module = TypeVar("Module", bound=nn.Module)
Steps = Callable[[Callable[[Tensor], Any], Tensor], Any]

MAX_BATCH = 32
"""Largest number of items that go through a network at once."""
BATCH_SIZES = (1, 2, 4, 8, 16, MAX_BATCH)
"""Sizes to which batches are padded on an accelerator."""


@dataclass(frozen=True)
class Execution:
    """How networks run, with nothing left to `auto`.

    Attributes:
        device: where they run.
        runtime: `torch`, `openvino` or `cuda-graphs`.
        precision: `float32`, `float16` or `bfloat16`.
    """

    device: torch.device
    runtime: str
    precision: str


def select_device(name: str) -> torch.device:
    """`cpu`, `cuda`, `cuda:1` ...; `auto` takes the first GPU, or else the CPU. A returned GPU always has its index.

    If there is a GPU that `auto` cannot take, for example because its driver is too old, the log says why.

    Raises:
        ValueError: unknown name, or there is no such device.
    """
    if name == "auto":
        with warnings.catch_warnings(record=True) as reasons:
            warnings.simplefilter("always")
            name = "cuda" if torch.cuda.is_available() else "cpu"
        for reason in reasons:
            log.warning("%s", reason.message)
    found = DEVICE.fullmatch(name)
    if not found:
        raise ValueError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N")
    if name == "cpu":
        return torch.device("cpu")
    # Not `torch.device(name).index`, which has only eight bits.
    index, count = int(found[1] or 0), torch.cuda.device_count()
    if index >= count:
        raise ValueError(f"device {name!r} is not here ({_why_no_gpu() or f'{count} GPUs found'}); use auto or cpu")
    return torch.device("cuda", index)


def _why_no_gpu() -> str:
    """Why torch can use no GPU at all, such as a driver that is too old; empty if it can."""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]
    except (RuntimeError, AssertionError) as error:
        return f"{error}".strip().rstrip(".")
    return ""


def is_lost(device: torch.device) -> bool:
    """Whether the device refuses all work of this process for good.

    CUDA does so after a fault of the hardware or an illegal access: every later call fails, and only another process
    may find the device working. This waits for nothing.
    """
    if device.type != "cuda":
        return False
    try:
        torch.cuda.default_stream(device).synchronize()  # nothing runs there, but every call reports such an error
    except RuntimeError as error:
        log.debug("the device %s is lost", device, exc_info=error)
        return True
    return False


def select_runtime(name: str, device: torch.device, precision: str = "auto") -> str:
    """The runtime for networks on `device`: `torch`, `openvino` or `cuda-graphs`.

    Args:
        name: one of `RUNTIMES`.
        device: of the networks.
        precision: one of `posewire_models.specs.PRECISIONS`; OpenVINO does not compute in float16.

    Raises:
        ValueError: unknown, not installed, or not for this device.
    """
    if name not in RUNTIMES:
        raise ValueError(f"unknown runtime {name!r}; use {', '.join(RUNTIMES)}")
    installed, on_cpu = openvino_is_installed(), device.type == "cpu"
    for_openvino = precision_name(select_precision(precision, device)) in OPENVINO_PRECISIONS
    if name == "auto":
        if not on_cpu:
            return "cuda-graphs" if device.type == "cuda" else "torch"
        return "openvino" if installed and for_openvino else "torch"
    if name == "cuda-graphs" and device.type != "cuda":
        raise ValueError(f"CUDA graphs run networks on a GPU, not on {device}; use device cuda, or runtime auto")
    if name == "openvino" and not installed:
        raise ValueError("OpenVINO is not installed: pip install 'posewire[openvino]', or use runtime torch")
    if name == "openvino" and not on_cpu:
        raise ValueError(f"OpenVINO runs networks on the CPU, not on {device}; use device cpu, or runtime torch")
    if name == "openvino" and not for_openvino:
        raise ValueError(
            f"OpenVINO runs networks in {' or '.join(OPENVINO_PRECISIONS)}, not in {precision}; use one of these, or "
            "runtime torch"
        )
    return name


def prepare(network: Module, device: torch.device, dtype: torch.dtype = torch.float32) -> Module:
    """Prepare `network` for inference in place: evaluation mode, batch norms folded, channels last, on `device`.

    Its weights have type `dtype` and are complete when this returns, so that any stream may use them.
    """
    network.eval().requires_grad_(False)
    _fold_batch_norms(network)
    # Converted on the CPU: a GPU would do it on this thread's stream, which the streams that run it do not wait for.
    network.to(dtype=dtype, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device)


def runner(
    network: nn.Module,
    input_shape: tuple[int, int, int],
    device: torch.device,
    runtime: str,
    precision: str = "auto",
    steps: Steps | None = None,
) -> Callable[[Tensor], Any]:
    """A function that runs `network`, which is prepared in place and not to be used elsewhere afterwards.

    Args:
        network: to be run.
        input_shape: (channels, height, width) of the runner's inputs.
        device: of its inputs and outputs.
        runtime: one of `RUNTIMES`.
        precision: one of `posewire_models.specs.PRECISIONS`.
        steps: maps the network and images to results, with pre- and postprocessing in float32; by default the network
            alone. It must not change the images, and no image's result may depend on the others.

    Returns:
        A function from images `(b, *input_shape)` to the results of `steps`: tensors whose first axis is the batch.
        Later calls do not overwrite them.

    Raises:
        ValueError: see `select_runtime`.
    """
    chosen = select_runtime(runtime, device, precision)
    dtype = select_precision(precision, device)
    steps = steps or (lambda run, images: run(images))
    run: Callable[[Tensor], Any]
    if chosen == "openvino":
        run = OpenVinoNetwork(prepare(network, device), input_shape, precision_name(dtype))
        return lambda images: steps(run, images)
    run = _in_precision(prepare(network, device, dtype), device, dtype)
    if chosen == "cuda-graphs":
        return GraphedNetwork(lambda images: steps(run, images), input_shape, device, BATCH_SIZES)
    return lambda images: map_tensors(steps(run, pad_batch(images)), lambda output: output[: len(images)])


def _in_precision(network: nn.Module, device: torch.device, dtype: torch.dtype) -> Callable[[Tensor], Any]:
    """The network, whose weights have type `dtype`, with activations of that type and float32 inputs and outputs."""
    if dtype is torch.float32 and device.type == "cuda":
        # Else its convolutions would round to ten bits of mantissa, like float16.
        torch.backends.cudnn.allow_tf32 = False

    def run(images: Tensor) -> Any:
        outputs = network(images.to(dtype, memory_format=torch.channels_last))
        return map_tensors(outputs, lambda output: output.float())

    return run


def batches(count: int, size: int = MAX_BATCH) -> Iterator[slice]:
    """Slices of at most `size` that cover `range(count)`."""
    return (slice(start, min(start + size, count)) for start in range(0, count, size))


def pad_batch(batch: Tensor) -> Tensor:
    """On an accelerator, `batch` padded to the next of a few fixed sizes; on a CPU, where padding costs, as it is."""
    if batch.device.type == "cpu":
        return batch
    size = next(size for size in BATCH_SIZES if size >= len(batch))
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
