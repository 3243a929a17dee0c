"""Initial weights for training: the MobileNetV2 inside MoveNet, from its 8-bit TFLite file.

A trunk that was trained on people needs a fraction of the samples that one from ImageNet needs. A development tool,
which needs the package `ai-edge-litert`:

    python -m posewire_models.training.movenet_trunk MOVENET.tflite OUT.safetensors

The result has torchvision's names, with batch norms folded into the convolutions before them (`unfold_batch_norms`
restores their statistics). MoveNet pads at the right and the bottom where torchvision pads on all sides, so the same
features are on a grid that is shifted by less than a cell, which does not matter to a head trained on top.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from posewire.array_types import Float32s
from posewire_models.mobilenet_trunk import MobileNetV2Trunk
from posewire_models.training.batch_norm import folded_batch_norm
from posewire_models.training.failures import expected_failures
from posewire_models.weights import write_state

__all__ = ["main", "read_trunk"]

_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")


def read_trunk(file: Path) -> dict[str, Tensor]:
    """The state of `MobileNetV2Trunk().features`.

    Args:
        file: MoveNet Lightning, single pose, TFLite with quantised weights.

    Raises:
        OSError: the file is missing.
        ValueError: it does not hold a MobileNetV2 of width 1.
    """
    features = MobileNetV2Trunk().features
    modules = [(name, module) for name, module in features.named_modules()]
    convolutions = [(name, module) for name, module in modules if isinstance(module, nn.Conv2d)]
    norms = [(name, module) for name, module in modules if isinstance(module, nn.BatchNorm2d)]
    found = _quantised_convolutions(file)
    state = {}
    for (name, convolution), (norm_name, norm) in zip(convolutions, norms, strict=True):
        # Convolutions of MoveNet's own pyramid run in between; none has the shape of the next one here.
        fitting = (each for each in found if each[0].shape == convolution.weight.shape)
        kernel, bias = next(fitting, (None, None))
        if kernel is None or bias is None:
            raise ValueError(f"{file} does not hold a MobileNetV2 of width 1: nothing in it fits {name}")
        state[f"{name}.weight"] = torch.from_numpy(kernel)
        folded = folded_batch_norm(norm, torch.from_numpy(bias))
        state |= {f"{norm_name}.{part}": value for part, value in folded.items()}
    return state


def _quantised_convolutions(file: Path) -> Iterator[tuple[Float32s, Float32s]]:
    """Kernels in torch's layout, and biases, of all convolutions in the order in which they run."""
    file.open("rb").close()  # its error names the file
    from ai_edge_litert.interpreter import Interpreter

    interpreter: Any = Interpreter(model_path=str(file))
    interpreter.allocate_tensors()
    details = {tensor["index"]: tensor for tensor in interpreter.get_tensor_details()}

    def value(index: int) -> Float32s:
        numbers = interpreter.get_tensor(index).astype(np.float64)
        quantised = details[index]["quantization_parameters"]
        shape = [1] * numbers.ndim
        if len(quantised["scales"]) > 1:
            shape[quantised["quantized_dimension"]] = -1
        scales, zeros = (quantised[key].reshape(shape) for key in ("scales", "zero_points"))
        return np.asarray((numbers - zeros) * scales, np.float32)

    for operation in interpreter._get_ops_details():
        if operation["op_name"] not in _CONVOLUTIONS:
            continue
        kernel, bias = (value(index) for index in operation["inputs"][1:3])
        # (out, h, w, in), or (1, h, w, channels) if depthwise.
        depthwise = operation["op_name"] == "DEPTHWISE_CONV_2D"
        kernel = kernel.transpose(3, 0, 1, 2) if depthwise else kernel.transpose(0, 3, 1, 2)
        yield np.ascontiguousarray(kernel), bias.ravel()


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m posewire_models.training.movenet_trunk")
    parser.add_argument("file", type=Path, help="MoveNet Lightning (TFLite)")
    parser.add_argument("out", type=Path, help="file for the converted weights (safetensors)")
    arguments = parser.parse_args()
    with expected_failures():
        state = read_trunk(arguments.file)
        write_state({name: values.half().contiguous() for name, values in state.items()}, arguments.out, {})


if __name__ == "__main__":
    main()
