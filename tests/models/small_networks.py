"""Networks of every architecture, small, with weights and batch-norm statistics that let something through."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from posewire_models.center_detector import CenterDetector, CenterDetectorConfig
from posewire_models.flownet_s import FlowNetS, FlowNetSConfig
from posewire_models.pose_mobilenet import PoseMobileNet, PoseMobileNetConfig
from posewire_models.pose_resnet import PoseResNet, PoseResNetConfig
from posewire_models.whole_files import file_digest
from posewire_models.yolox_detector import YoloxDetector, YoloxDetectorConfig

__all__ = ["ARCHITECTURES", "small_network", "write_small_bundle"]

Network = PoseResNet | PoseMobileNet | CenterDetector | YoloxDetector | FlowNetS

ARCHITECTURES = (
    "pose_resnet",
    "pose_resnet50",
    "pose_mobilenet",
    "pose_mobilenet_laterals",
    "center_resnet",
    "center_mobilenet",
    "center_yolox",
    "yolox",
    "flownet_s",
)
_HEAD = {"deconv_filters": (16, 16, 16)}


def small_network(architecture: str, seed: int = 0) -> Network:
    """A small network in evaluation mode, the same for the same seed."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = _build(architecture).eval()
        for module in network.modules():
            if isinstance(module, nn.ConvTranspose2d):
                nn.init.kaiming_normal_(module.weight)
            if isinstance(module, nn.BatchNorm2d):
                nn.init.uniform_(module.running_mean, -0.1, 0.1)  # type: ignore[arg-type]
                nn.init.uniform_(module.running_var, 0.8, 1.2)  # type: ignore[arg-type]
                nn.init.uniform_(module.weight, 0.6, 1.0)
                nn.init.uniform_(module.bias, -0.1, 0.1)
        if isinstance(network, CenterDetector):
            nn.init.constant_(network.wh[-1].bias, 3.0)  # type: ignore[arg-type]  # boxes have an extent
        elif isinstance(network, YoloxDetector):
            for prediction in (*network.head.obj_preds, *network.head.cls_preds):
                nn.init.normal_(prediction.weight)  # type: ignore[arg-type]  # no two cells are as sure as each other
                nn.init.constant_(prediction.bias, 1.0)  # type: ignore[arg-type]  # somebody is found
        elif not isinstance(network, FlowNetS):
            nn.init.normal_(network.final_layer.weight, std=0.1)
        if isinstance(network, PoseMobileNet):
            for lateral in network.laterals.values():
                nn.init.normal_(lateral.weight, std=0.1)  # type: ignore[arg-type]
    return network


def write_small_bundle(folder: Path) -> Path:
    """Make `folder` a bundle of small networks; its flow is no network, except between close frames."""
    networks: dict[str, tuple[str, str, dict[str, Any]]] = {
        "pose": ("pose_resnet", "pose_resnet", {"depth": 18, "input_size": [64, 32]}),
        "detector": (
            "center_resnet",
            "center_detector",
            {"trunk": "resnet18", "input_size": [64, 96], "head_channels": 8},
        ),
    }
    manifest: dict[str, Any] = {"name": "small", "version": 1, "description": "A test.", "joint_set": "coco17"}
    manifest["flow"] = {"architecture": "dis"}
    for stage, (network, architecture, settings) in networks.items():
        path = folder / f"{stage}.safetensors"
        save_file(small_network(network).state_dict(), path)
        manifest[stage] = {
            "architecture": architecture,
            "network": {**settings, "width": 0.25, "deconv_filters": [16, 16, 16]},
            "weights": {"file": path.name, "sha256": file_digest(path)},
        }
    manifest["cpu_detector"] = manifest["detector"]
    settings = {"width": 1 / 64, "input_size": [64, 64]}
    save_file(FlowNetS(FlowNetSConfig(width=1 / 64, input_size=(64, 64))).state_dict(), folder / "near.safetensors")
    manifest["near_flow"] = {
        "architecture": "flownet_s",
        "network": settings,
        "weights": {"file": "near.safetensors", "sha256": file_digest(folder / "near.safetensors")},
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def _build(architecture: str) -> Network:
    match architecture:
        case "pose_resnet":
            return PoseResNet(PoseResNetConfig(depth=18, width=0.25, input_size=(64, 32), joints=17, **_HEAD))
        case "pose_resnet50":
            return PoseResNet(PoseResNetConfig(depth=50, width=0.25, input_size=(64, 32), joints=17, **_HEAD))
        case "pose_mobilenet":
            return PoseMobileNet(PoseMobileNetConfig(width=0.35, input_size=(64, 32), joints=17, **_HEAD))
        case "pose_mobilenet_laterals":
            return PoseMobileNet(
                PoseMobileNetConfig(width=0.35, input_size=(64, 32), joints=17, laterals=True, **_HEAD)
            )
        case "center_resnet":
            config = CenterDetectorConfig(trunk="resnet18", width=0.25, input_size=(64, 96), head_channels=8, **_HEAD)
            return CenterDetector(config)
        case "center_mobilenet":
            config = CenterDetectorConfig(
                trunk="mobilenet_v2", width=0.35, input_size=(64, 96), head_channels=8, **_HEAD
            )
            return CenterDetector(config)
        case "center_yolox":
            config = CenterDetectorConfig(
                trunk="yolox_nano",
                width=0.5,
                input_size=(64, 96),
                deconv_filters=(16,),
                deconv_kernels=(4,),
                head_channels=8,
            )
            return CenterDetector(config)
        case "yolox":
            return YoloxDetector(YoloxDetectorConfig(width=0.5, input_size=(64, 96)))
        case "flownet_s":
            return FlowNetS(FlowNetSConfig(width=0.125, input_size=(64, 128)))
    raise AssertionError(architecture)
