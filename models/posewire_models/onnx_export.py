"""Export of every network to ONNX."""

from __future__ import annotations

import copy
import warnings
from pathlib import Path

import torch

from posewire_models.center_detector import CenterDetector
from posewire_models.flownet_s import FlowNetS
from posewire_models.pose_mobilenet import PoseMobileNet
from posewire_models.pose_resnet import PoseResNet

__all__ = ["export_onnx"]

_OPSET = 17


def export_onnx(network: PoseResNet | PoseMobileNet | CenterDetector | FlowNetS, path: Path) -> None:
    """Write `network` as ONNX: its configured input size, any batch.

    The input is called `images`, or `pairs` for flow, and is preprocessed as the network wants it. The outputs are
    `heatmaps`; or `hm`, `wh` and `reg`; or `flow`, in units of `FLOW_SCALE` pixels at a quarter of the resolution.
    """
    if isinstance(network, FlowNetS):
        name, channels, outputs = "pairs", 6, ["flow"]
    else:
        name, channels = "images", 3
        outputs = ["hm", "wh", "reg"] if isinstance(network, CenterDetector) else ["heatmaps"]
    exported = copy.deepcopy(network).cpu().float().eval()
    example = torch.zeros(2, channels, *network.config.input_size)
    with warnings.catch_warnings():
        # The exporter by tracing needs no package beyond torch and does all that these networks ask for, but is no
        # longer torch's default, as it says at every call.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.onnx.export(
            exported,
            (example,),
            path,
            dynamo=False,
            opset_version=_OPSET,
            input_names=[name],
            output_names=outputs,
            dynamic_axes={tensor: {0: "batch"} for tensor in (name, *outputs)},
        )
