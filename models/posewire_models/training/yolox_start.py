"""Initial weights for training: YOLOX-nano, reduced from 80 classes to people, from its ONNX file.

It was trained on people in all of COCO; our detector has 540 pictures in which everybody is labelled. A development
tool, which needs the package `onnx`:

    python -m posewire_models.training.yolox_start YOLOX_NANO.onnx OUT.safetensors

The result has the names of `YoloxDetector`, which include those of `YoloxTrunk`, with batch norms folded into the
convolutions before them (`unfold_batch_norms` restores their statistics). YOLOX takes BGR pixels as they are; the first
convolution is rewritten for RGB pixels normalised by (pixel - 128) / 128. Only the padding around the picture differs
then: grey instead of black.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from posewire_models.training.batch_norm import folded_batch_norm
from posewire_models.training.failures import expected_failures
from posewire_models.weights import write_state
from posewire_models.yolox_detector import YoloxDetector, YoloxDetectorConfig
from posewire_models.yolox_trunk import BaseConv, CSPLayer

__all__ = ["main", "read_yolox"]

_MEAN, _STD = 128.0, 128.0
_HEAD_ORDER = ("stems", "cls_convs", "cls_preds", "reg_convs", "reg_preds", "obj_preds")


def read_yolox(file: Path) -> dict[str, Tensor]:
    """The state of `YoloxDetector()`.

    Args:
        file: YOLOX-nano in ONNX as its authors export it: batch norms folded, convolutions in the order of execution,
            people as the first class.

    Raises:
        OSError: the file is missing.
        ValueError: it does not hold a YOLOX-nano.
    """
    network = YoloxDetector(YoloxDetectorConfig())
    state: dict[str, Tensor] = {}
    layers = list(_layers(network))
    read = 0
    for (name, layer), (weight, bias) in zip(layers, _onnx_convolutions(file), strict=False):
        if name.startswith("head.cls_preds"):
            weight, bias = weight[:1], bias[:1]
        convolution = layer.conv if isinstance(layer, BaseConv) else layer
        if weight.shape != convolution.weight.shape:
            raise ValueError(
                f"{file} does not hold a YOLOX-nano: its convolution in the place of {name} has the shape "
                f"{tuple(weight.shape)} instead of {tuple(convolution.weight.shape)}"
            )
        if name == "backbone.stem.conv":
            weight, bias = _for_normalised_rgb(weight, bias)
        if isinstance(layer, BaseConv):
            state[f"{name}.conv.weight"] = weight
            state |= {f"{name}.bn.{part}": value for part, value in folded_batch_norm(layer.bn, bias).items()}
        else:
            state |= {f"{name}.weight": weight, f"{name}.bias": bias}
        read += 1
    if read != len(layers):
        raise ValueError(f"{file} does not hold a YOLOX-nano: {read} of its {len(layers)} convolutions")
    return state


def _layers(network: YoloxDetector) -> Iterator[tuple[str, BaseConv | nn.Conv2d]]:
    """All blocks of convolution and batch norm, and the last convolutions, in the order in which they run."""
    for name, part in network.named_children():
        if name != "head":
            yield from _convolutions(part, f"{name}.")
    for level in range(len(network.strides)):
        for branch in _HEAD_ORDER:
            yield from _convolutions(network.head.get_submodule(f"{branch}.{level}"), f"head.{branch}.{level}.")


def _convolutions(network: nn.Module, prefix: str) -> Iterator[tuple[str, BaseConv | nn.Conv2d]]:
    if isinstance(network, BaseConv | nn.Conv2d):
        yield prefix.removesuffix("."), network
        return
    children = list(network.named_children())
    if isinstance(network, CSPLayer):  # its parts do not run in the order of their registration
        order = ("conv1", "conv2", "m", "conv3")
        children.sort(key=lambda child: order.index(child[0]))
    for name, child in children:
        yield from _convolutions(child, f"{prefix}{name}.")


def _onnx_convolutions(file: Path) -> Iterator[tuple[Tensor, Tensor]]:
    import onnx
    from google.protobuf.message import DecodeError
    from onnx import numpy_helper

    try:
        graph: Any = onnx.load(str(file)).graph
    except DecodeError as error:
        raise ValueError(f"{file} is no ONNX file: {error}") from None
    values = {entry.name: entry for entry in graph.initializer}
    for node in graph.node:
        if node.op_type == "Conv" and len(node.input) == 3:
            weight, bias = (torch.from_numpy(numpy_helper.to_array(values[name]).copy()) for name in node.input[1:])
            yield weight, bias


def _for_normalised_rgb(weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """The stem, whose input channels are those of the four pixels of each 2x2 block, one after the other."""
    filters, channels, *kernel = weight.shape
    weight = weight.view(filters, channels // 3, 3, *kernel).flip(2).reshape(weight.shape)
    return weight * _STD, bias + _MEAN * weight.sum(dim=(1, 2, 3))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(prog="python -m posewire_models.training.yolox_start")
    parser.add_argument("file", type=Path, help="YOLOX-nano (ONNX)")
    parser.add_argument("out", type=Path, help="file for the converted weights (safetensors)")
    arguments = parser.parse_args()
    with expected_failures():
        state = read_yolox(arguments.file)
        write_state({name: values.contiguous() for name, values in state.items()}, arguments.out, {})


if __name__ == "__main__":
    main()
