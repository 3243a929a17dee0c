"""Networks run by OpenVINO, which on a CPU is about twice as fast as torch."""

from __future__ import annotations

import functools
import importlib.util
import sys
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

__all__ = ["OPENVINO_PRECISIONS", "OpenVinoNetwork", "openvino_is_installed"]

OPENVINO_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
"""What it computes in on a CPU, and how it calls that."""
_MOST_SIDE_BY_SIDE = 4
"""Images of a batch that are computed at the same time, each by its share of the threads."""


def openvino_is_installed() -> bool:
    """Whether the optional package is here; it is not imported for that."""
    return importlib.util.find_spec("openvino") is not None


class OpenVinoNetwork:
    """A network of torch as OpenVINO computes it, with as many threads as torch would use.

    It is called as the network itself is, with any batch of its input size, and from any thread. A single image has all
    threads for itself. Those of a batch go side by side: threads that share an image wait for each other after every
    layer, and for long where other work keeps one of them.

    Args:
        network: on the CPU, in evaluation mode. It is not needed afterwards.
        input_shape: (channels, height, width).
        precision: one of `OPENVINO_PRECISIONS`. bfloat16 takes two thirds of the time on CPUs that compute in it.

    Raises:
        ValueError: this CPU does not compute in bfloat16.
    """

    def __init__(self, network: nn.Module, input_shape: tuple[int, int, int], precision: str = "float32") -> None:
        openvino, core = _import_openvino(), _core()
        if precision == "bfloat16" and "BF16" not in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES"):
            raise ValueError("this CPU does not compute in bfloat16; use precision float32")
        example = torch.zeros(1, *input_shape)
        with torch.inference_mode(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the tracer warns of shape arithmetic, which is meant to be constant
            self._wrapped = _wrapper(network(example))
            # Left to itself, the converter traces three times over, to compare.
            plain = _Whole(network.to(memory_format=torch.contiguous_format)).eval()
            traced = torch.jit.trace(plain, example, check_trace=False)  # type: ignore[no-untyped-call]
            model = openvino.convert_model(torch.jit.freeze(traced), example_input=example)
        model.reshape([1, *input_shape])  # a shape that is known beforehand saves a tenth of the time
        threads = torch.get_num_threads()
        side_by_side = min(threads, _MOST_SIDE_BY_SIDE)

        def compiled(streams: int) -> Any:
            options = {
                "NUM_STREAMS": streams,
                "INFERENCE_NUM_THREADS": threads,
                # Left alone it takes bfloat16 where the CPU has it, which changes heatmaps by some 0.01.
                "INFERENCE_PRECISION_HINT": OPENVINO_PRECISIONS[precision],
            }
            return core.compile_model(model, "CPU", options)

        self._with_all_threads = compiled(1).create_infer_request()
        several = compiled(side_by_side)
        self._side_by_side = [several.create_infer_request() for _ in range(side_by_side)]
        self._turn = threading.Lock()

    def __call__(self, images: Tensor) -> Any:
        """What the network gives for `images` `(b, *input_shape)`."""
        singly = images.contiguous().numpy()[:, None]
        width = len(self._side_by_side)
        found: list[list[Tensor]] = []
        with self._turn:
            for start in range(0, len(singly), width):
                found += self._run(singly[start : start + width])
        return self._wrapped([torch.cat(of_images) for of_images in zip(*found, strict=True)])

    def _run(self, group: npt.NDArray[np.float32]) -> list[list[Tensor]]:
        """The outputs for each of a few images `(n, 1, *input_shape)`, at most as many as go side by side."""
        requests = self._side_by_side if len(group) > 1 else [self._with_all_threads]
        running = list(zip(requests, group, strict=False))
        for request, image in running:
            request.start_async([image], share_inputs=True)
        for request, _ in running:
            request.wait()
        return [[torch.from_numpy(output.data.copy()) for output in request.output_tensors] for request, _ in running]


class _Whole(nn.Module):
    """A network whose parts the tracer does not see: it takes most of its time to make a module of its own of each."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        network.requires_grad_(False)  # what is traced as a constant must be one
        self._run: Callable[[Tensor], Any] = network.forward  # a method is no part

    def forward(self, images: Tensor) -> Any:
        """What the network gives."""
        return self._run(images)


def _import_openvino() -> Any:
    """The library without its telemetry, which would tell its makers of every conversion.

    It does so from a forked process, which it ends by SIGTERM where the network lets nothing out. The fork has the
    signal handlers of the server, and the pipe behind them: the server would take that signal for its own, and stop.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # importing it fails; it is optional
    import openvino  # type: ignore[import-untyped]

    return openvino


@functools.cache
def _core() -> Any:
    """The one core of this process, which stays.

    A core and its networks share something that gives the thread which makes it a stack for signals, and unmaps that
    stack when the last of them goes. Were that in another thread, the next Ctrl-C would be a segmentation fault.
    """
    return _import_openvino().Core()


def _wrapper(example: Tensor | tuple[Tensor, ...]) -> Callable[[list[Tensor]], Any]:
    """From a list of tensors to what the network returns: one tensor, a tuple, or a named tuple."""
    if isinstance(example, Tensor):
        return lambda outputs: outputs[0]
    make = getattr(type(example), "_make", type(example))
    return lambda outputs: make(outputs)
