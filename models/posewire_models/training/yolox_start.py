"""A start for training: the trunk of YOLOX-nano, out of its ONNX file.

It has seen people in all of COCO; our detector has 540 pictures in which everybody is labelled. A tool of development,
for which alone `onnx` is needed:

    python -m posewire_models.training.yolox_start YOLOX_NANO.onnx OUT.safetensors

The result has the names of `YoloxTrunk`, its batch norms folded into the convolutions before them (`unfold_batch_norms`
gives them statistics again). YOLOX takes BGR pixels as they are; the first convolution is rewritten for RGB pixels to
which (pixel - 128) / 128 was done. Only the border of the picture is another then: grey instead of black.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from posewire_models.training.batch_norm import folded_batch_norm
from posewire_models.yolox_trunk import BaseConv, CSPLayer, YoloxTrunk

__all__ = ["main", "read_trunk"]

_MEAN, _STD = 128.0, 128.0


def read_trunk(file: Path) -> dict[str, Tensor]:
    """The state of `YoloxTrunk()` but for its `gather`.

    Args:
        file: YOLOX-nano in ONNX as its authors export it: batch norms folded, convolutions in the order of execution.

    Raises:
        ValueError: it does not hold the trunk of a YOLOX-nano.
    """
    trunk = YoloxTrunk()
    state = {}
    for (name, module), (weight, bias) in zip(_convolutions(trunk), _onnx_convolutions(file), strict=False):
        if weight.shape != module.conv.weight.shape:
            raise ValueError(
                f"{file} does not hold a YOLOX-nano: its convolution in the place of {name} has the shape "
                f"{tuple(weight.shape)} instead of {tuple(module.conv.weight.shape)}"
            )
        if name == "backbone.stem.conv":
            weight, bias = _for_normalised_rgb(weight, bias)
        state[f"{name}.conv.weight"] = weight
        state |= {f"{name}.bn.{part}": value for part, value in folded_batch_norm(module.bn, bias).items()}
    expected = {name for name, _ in _convolutions(trunk)}
    if len(state) != 5 * len(expected):
        raise ValueError(f"{file} does not hold a YOLOX-nano: {len(state) // 5} of its {len(expected)} convolutions")
    return state


def _convolutions(network: nn.Module, prefix: str = "") -> Iterator[tuple[str, BaseConv]]:
    """All blocks of convolution and batch norm in the order in which they run."""
    children = list(network.named_children())
    if isinstance(network, CSPLayer):  # its parts run in another order than that of their registration
        order = ("conv1", "conv2", "m", "conv3")
        children.sort(key=lambda child: order.index(child[0]))
    for name, child in children:
        if isinstance(child, BaseConv):
            yield prefix + name, child
        else:
            yield from _convolutions(child, f"{prefix}{name}.")


def _onnx_convolutions(file: Path) -> Iterator[tuple[Tensor, Tensor]]:
    import onnx
    from onnx import numpy_helper

    graph: Any = onnx.load(str(file)).graph
    values = {entry.name: entry for entry in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3:
            weight, bias = (torch.from_numpy(numpy_helper.to_array(values[name]).copy()) for name in node.input[1:])
            yield weight, bias


def _for_normalised_rgb(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The stem, whose input channels are those of the four pixels of each 2x2, one after the other."""
    filters, channels, *kernel = weight.shape
    weight = weight.view(filters, channels // 3, 3, *kernel).flip(2).reshape(weight.shape)
    return weight * _STD, bias + _MEAN * weight.sum(dim=(1, 2, 3))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m posewire_models.training.yolox_start")
    parser.add_argument("file", type=Path, help="YOLOX-nano in ONNX")
    parser.add_argument("out", type=Path, help="safetensors")
    arguments = parser.parse_args()
    save_file({name: values.contiguous() for name, values in read_trunk(arguments.file).items()}, arguments.out)


if __name__ == "__main__":
    main()
