"""Running networks with OpenVINO, which on a CPU is two to three times as fast as torch."""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from posewire.array_types import Float32s
from posewire_models.network_outputs import form_of
from posewire_models.subpixel import SubPixelConvolution

__all__ = ["OPENVINO_PRECISIONS", "OpenVinoNetwork", "openvino_is_installed"]

OPENVINO_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""Precisions that OpenVINO supports on a CPU, with its names for them."""
_MOST_SIDE_BY_SIDE = 4
"""Images of a batch that are computed in parallel, each by its share of the threads."""
_SUBPIXEL_CHANNELS = 640
"""Input channels from which OpenVINO's own transposed convolutions are slower, up to twice, than sub-pixel ones."""


def openvino_is_installed() -> bool:
    """Whether the optional package is installed; this does not import it."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoNetwork:
    """A torch network run by OpenVINO, with as many threads as torch would use.

    Called like the network itself, with any batch of its input size, from any thread. A single image gets all threads.
    Images of a batch run in parallel instead: threads that share an image wait for each other after every layer, and
    wait long if other work delays one of them.

    Args:
        network: on the CPU, in evaluation mode. It is not needed afterwards.
        input_shape: (channels, height, width).
        precision: one of `OPENVINO_PRECISIONS`. bfloat16 takes two thirds of the time on CPUs that support it.

    Raises:
        ValueError: this CPU does not support bfloat16.
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, int, int], precision: str = "float32") -> None:
        openvino, core = _import_openvino(), _core()
        if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError("this CPU does not compute in bfloat16; use precision float32")
        example = torch.zeros(1, *input_shape)
        _use_subpixel_convolutions(network)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of shape arithmetic, which is constant on purpose
            # By itself, the converter traces three times, to compare.
            whole = _Whole(network.to(memory_format=torch.contiguous_format)).eval()
            traced = torch.jit.trace(whole, example, check_trace=False)  # type: ignore[no-untyped-call]
            model = openvino.convert_model(torch.jit.freeze(traced), example_input=example)
        self._form = whole.form
        model.reshape([1, *input_shape])  # a static shape saves a tenth of the time
        threads = torch.get_num_threads()
        side_by_side = min(threads, _MOST_SIDE_BY_SIDE)

        def compiled(streams: int) -> Any:
            options = {
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": threads,
                # By default it takes bfloat16 where the CPU supports it, which changes heatmaps by about 0.01.
                "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
            }
            return core.compile_model(model, "CPU", options)

        self._with_all_threads = compiled(1).create_infer_request()
        self._side_by_side = [self._with_all_threads]
        if side_by_side > 1:
            several = compiled(side_by_side)
            self._side_by_side = [several.create_infer_request() for _ in range(side_by_side)]
        self._turn = threading.Lock()

    def __call__(self, images: Tensor) -> Any:
        """The network's outputs for `images` `(b, *input_shape)`."""
        # In numpy: torch's threads would go on spinning for a while, on the cores that the network needs.
        singly = np.ascontiguousarray(images.numpy())[:, None]
        width = len(self._side_by_side)
        found: list[list[Float32s]] = []
        with self._turn:
            for start in range(0, len(singly), width):
                found += self._run(singly[start : start + width])
        return self._form([torch.from_numpy(np.concatenate(of_images)) for of_images in zip(*found, strict=True)])

    def _run(self, group: Float32s) -> list[list[Float32s]]:
        """The outputs for each of `n` images `(n, 1, *input_shape)`, at most as many as run in parallel."""
        requests = self._side_by_side if len(group) > 1 else [self._with_all_threads]
        running = list(zip(requests, group, strict=False))
        for request, image in running:
            request.start_async([image], share_inputs=True)
        for request, _ in running:
            request.wait()
        return [[output.data.copy() for output in request.output_tensors] for request, _ in running]


def _use_subpixel_convolutions(network: nn.Module) -> None:
    for module in list(network.modules()):
        for name, part in list(module.named_children()):
            if (
                isinstance(part, nn.ConvTranspose2d)
                and part.in_channels >= _SUBPIXEL_CHANNELS
                and SubPixelConvolution.fits(part)
            ):
                setattr(module, name, SubPixelConvolution(part))


class _Whole(nn.Module):
    """Hides a network's parts from the tracer, which spends most of its time on making a module for each of them."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        network.requires_grad_(False)  # weights are traced as constants
        self._run: Callable[[Tensor], Any] = network.forward  # a method is not registered as a submodule
        self.form: Callable[[Sequence[Tensor]], Any]
        """See `form_of`; of what the network returned when it was traced."""

    def forward(self, images: Tensor) -> Any:
        """The network's outputs."""
        outputs = self._run(images)
        self.form = form_of(outputs)
        return outputs


def _import_openvino() -> Any:
    """The library without its telemetry, which would report every conversion to its makers.

    Telemetry runs in a forked process, which is ended by SIGTERM if it cannot reach the internet. The fork inherits the
    server's signal handlers and the pipe behind them, so the server would take that signal for its own and stop.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # importing it fails; it is optional
    import openvino  # type: ignore[import-untyped]

    return openvino


@functools.cache
def _core() -> Any:
    """The only core of this process, never freed.

    A core and its networks share an object that gives its creating thread a signal stack, and unmaps that stack when
    the last of them is freed. If another thread did that, the next Ctrl-C would be a segmentation fault.
    """
    return _import_openvino().Core()
