"""The short texts that name networks, and how they run, on the command line and in configuration.

Does not import torch, which takes long and is not needed to name networks.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "DETECTOR_SPECS",
    "DEVICE",
    "DIS_PRESETS",
    "FLOW_SPECS",
    "PRECISIONS",
    "RUNTIMES",
    "TENSORRT_VARIABLE",
    "TORCHVISION_DETECTORS",
    "Auto",
    "DetectorSpec",
    "Dis",
    "FlowNetFile",
    "FlowSpec",
    "Nothing",
    "OnnxFile",
    "Own",
    "Published",
    "TorchvisionFile",
    "TorchvisionModel",
    "parse_detector_spec",
    "parse_flow_spec",
    "spec_name",
]

RUNTIMES = ("auto", "torch", "openvino", "cuda-graphs")
"""What runs networks; `auto` takes CUDA graphs on a GPU and, on a CPU, OpenVINO if it is installed."""
PRECISIONS = ("auto", "float32", "float16", "bfloat16")
"""What they compute in; `auto` takes float32 on a CPU and float16 on a GPU."""
TENSORRT_VARIABLE = "POSEWIRE_TENSORRT"
"""Environment variable that, set to 1, has ONNX detectors run on TensorRT."""
DEVICE = re.compile(r"auto|cpu|cuda(?::([0-9]+))?")
"""How a device may be named."""
DETECTOR_SPECS = "auto, bundle, onnx:PATH, torchvision:NAME[:WEIGHTS], published:NAME, none"
"""How a detector may be named."""
FLOW_SPECS = "auto, bundle, dis[:PRESET], flownet2-s:PATH, published:NAME, none"
"""How a flow estimator may be named."""

TORCHVISION_DETECTORS = (
    "fasterrcnn_resnet50_fpn",
    "fasterrcnn_resnet50_fpn_v2",
    "fasterrcnn_mobilenet_v3_large_fpn",
    "fasterrcnn_mobilenet_v3_large_320_fpn",
    "ssdlite320_mobilenet_v3_large",
)
"""The detectors of torchvision that posewire runs, by torchvision's names."""
DIS_PRESETS = ("ultrafast", "fast", "medium")
"""OpenCV's presets of DIS, from fast to accurate."""


@dataclass(frozen=True)
class Auto:
    """The bundle's own for the device."""


@dataclass(frozen=True)
class Own:
    """The bundle's own."""


@dataclass(frozen=True)
class Nothing:
    """No detector, so callers give the boxes; or no flow estimator, so nothing is assumed to move."""


@dataclass(frozen=True)
class Published:
    """Published weights, by their name in posewire's catalogue."""

    name: str


@dataclass(frozen=True)
class OnnxFile:
    """A detector in ONNX."""

    path: Path


@dataclass(frozen=True)
class TorchvisionModel:
    """A detector of `TORCHVISION_DETECTORS` with the weights that torchvision publishes."""

    name: str


@dataclass(frozen=True)
class TorchvisionFile:
    """A detector of `TORCHVISION_DETECTORS` with weights from a file."""

    name: str
    weights: Path


@dataclass(frozen=True)
class FlowNetFile:
    """FlowNet2-S with weights from a file."""

    weights: Path


@dataclass(frozen=True)
class Dis:
    """Dense inverse search with a preset of `DIS_PRESETS`."""

    preset: str = DIS_PRESETS[0]


DetectorSpec = Auto | Own | Published | OnnxFile | TorchvisionModel | TorchvisionFile | Nothing
"""Which detector."""
FlowSpec = Auto | Own | Published | Dis | FlowNetFile | Nothing
"""Which flow estimator."""


def parse_detector_spec(spec: str) -> DetectorSpec:
    """Parse `spec`; raises `ValueError` that lists what exists."""
    kind, _, rest = spec.partition(":")
    match kind, rest:
        case "auto", "":
            return Auto()
        case "bundle", "":
            return Own()
        case "none", "":
            return Nothing()
        case "onnx", path if path:
            return OnnxFile(Path(path))
        case "torchvision", model if model:
            name, _, weights = model.partition(":")
            if name not in TORCHVISION_DETECTORS:
                raise ValueError(f"unknown torchvision detector {name!r}; known: {', '.join(TORCHVISION_DETECTORS)}")
            return TorchvisionFile(name, Path(weights)) if weights else TorchvisionModel(name)
        case "published", name if name:
            return Published(name)
    raise ValueError(f"unknown detector {spec!r}; use one of: {DETECTOR_SPECS}")


def parse_flow_spec(spec: str) -> FlowSpec:
    """Parse `spec`; raises `ValueError` that lists what exists."""
    kind, _, rest = spec.partition(":")
    match kind, rest:
        case "auto", "":
            return Auto()
        case "bundle", "":
            return Own()
        case "none", "":
            return Nothing()
        case "dis", "":
            return Dis()
        case "dis", preset:
            if preset not in DIS_PRESETS:
                raise ValueError(f"unknown DIS preset {preset!r}; known presets: {', '.join(DIS_PRESETS)}")
            return Dis(preset)
        case "flownet2-s", path if path:
            return FlowNetFile(Path(path))
        case "published", name if name:
            return Published(name)
    raise ValueError(f"unknown flow estimator {spec!r}; use one of: {FLOW_SPECS}")


def spec_name(spec: str) -> str:
    """A server's name for a network given as `spec`: `onnx:yolox_nano.onnx`, without the file's folder."""
    kind, _, path = spec.partition(":")
    return f"{kind}:{os.path.basename(path)}" if path else kind
