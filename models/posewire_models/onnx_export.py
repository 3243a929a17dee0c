"""Export of networks to ONNX."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from posewire_models.network import Network

__all__ = ["OnePicture", "export_detector_onnx", "export_onnx"]

_OPSET = 17


def export_onnx(network: Network, path: Path) -> None:
    """Write `network` as ONNX, with its configured input size and any batch size.

    Input and outputs are named by the network. Preprocessing and decoding are not part of the export.
    """
    name, outputs = network.input_name, list(network.output_names)
    exported = copy.deepcopy(network).cpu().float().eval()
    example = torch.zeros(2, *network.input_shape)
    _export(exported, example, path, name, outputs, {tensor: {0: "batch"} for tensor in (name, *outputs)})


def export_detector_onnx(network: nn.Module, path: Path, input_size: tuple[int, int]) -> None:
    """Write a detector of torchvision as ONNX, in the end-to-end format that `--detector onnx:PATH` reads.

    The input `images` is one RGB picture in 0..1, `(1, 3, *input_size)`. The outputs are `boxes` `(n, 4)` xyxy in input
    pixels, `scores` `(n,)` and `labels` `(n,)`, people having label 0.
    """
    found = ["boxes", "scores", "labels"]
    exported = OnePicture(copy.deepcopy(network)).cpu().float().eval()
    _export(exported, torch.rand(1, 3, *input_size), path, "images", found, {tensor: {0: "found"} for tensor in found})


class OnePicture(nn.Module):
    """A detector of torchvision as a function of one picture `(1, 3, h, w)`; its labels do not count background."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes `(n, 4)`, scores `(n,)`, labels `(n,)`."""
        (found,) = self.network([images[0]])
        return found["boxes"], found["scores"], found["labels"] - 1


def _export(
    network: nn.Module, example: Tensor, path: Path, name: str, outputs: list[str], axes: dict[str, dict[int, str]]
) -> None:
    with warnings.catch_warnings():
        # The tracing exporter needs no other package than torch and supports all of these networks, but warns at every
        # call that it is no longer torch's default. With torchvision's detectors it also warns of each conversion to a
        # Python number: the input size is fixed, so these are constants.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            path,
            dynamo=False,
            opset_version=_OPSET,
            input_names=[name],
            output_names=outputs,
            dynamic_axes=axes,
        )
