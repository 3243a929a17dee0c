"""The architectures that a bundle may name, and how each becomes a stage.

A new pose network is added here once, in `NETWORKS`; a detector or flow estimator also in its `build_` function, which
wraps it in a stage that decodes its output. Each network defines the rest itself, see `posewire_models.network`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from posewire.joints import JointSet
from posewire.usable_cores import usable_cores
from posewire_models.center_detector import CenterDetector, CenterDetectorConfig
from posewire_models.deconv_head import HeatmapNetwork, PoseNetConfig
from posewire_models.detectors.center_heatmap import center_heatmap_detector
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.torchvision_models import TorchvisionDetector, current_names, detection_network
from posewire_models.detectors.yolox import yolox_person_detector
from posewire_models.flow_estimators import DisFlow, DisSettings, FlowNetFlow
from posewire_models.flownet_s import FlowNetS, FlowNetSConfig
from posewire_models.inference import Execution
from posewire_models.manifest import BundleError, Component, settings_from_json
from posewire_models.network import Network
from posewire_models.pose_estimator import HeatmapPoseEstimator, PoseSettings
from posewire_models.pose_mobilenet import PoseMobileNet, PoseMobileNetConfig
from posewire_models.pose_resnet import PoseResNet, PoseResNetConfig
from posewire_models.stages import Detector, FlowEstimator, PoseEstimator
from posewire_models.weights import check_digest, load_strict, read_state
from posewire_models.yolox_detector import YoloxDetector, YoloxDetectorConfig

__all__ = [
    "NETWORKS",
    "POSE_ARCHITECTURES",
    "TORCHVISION",
    "build_detector",
    "build_flow",
    "build_network",
    "build_pose",
    "build_torchvision_network",
    "dis_workers",
    "untrained_network",
]

NETWORKS: dict[str, tuple[type[Any], Callable[[Any], Network]]] = {
    "pose_resnet": (PoseResNetConfig, PoseResNet),
    "pose_mobilenet": (PoseMobileNetConfig, PoseMobileNet),
    "center_detector": (CenterDetectorConfig, CenterDetector),
    "yolox": (YoloxDetectorConfig, YoloxDetector),
    "flownet_s": (FlowNetSConfig, FlowNetS),
}
"""Architecture -> class of its config, class of the network."""

POSE_ARCHITECTURES = tuple(name for name, (config, _) in NETWORKS.items() if issubclass(config, PoseNetConfig))
"""Those that output heatmaps."""

TORCHVISION = "torchvision"
"""The architecture of torchvision's detectors, which posewire only runs; its network settings are a `name`."""


def untrained_network(architecture: str, settings: Mapping[str, Any], where: str) -> Network:
    """A network of `NETWORKS` with random weights.

    Args:
        architecture: its key in `NETWORKS`.
        settings: the fields of its config.
        where: what to call it in errors.

    Raises:
        BundleError: unknown architecture, or invalid settings.
    """
    if architecture not in NETWORKS:
        raise BundleError(f"{where}: unknown architecture {architecture!r}; known: {', '.join(NETWORKS)}")
    config_type, network_type = NETWORKS[architecture]
    return network_type(settings_from_json(config_type, settings, f"{where}: network"))


def build_network(component: Component, folder: Path, where: str) -> Network:
    """The component's network with its weights, whose digest is checked.

    Args:
        component: of a manifest, with its published names resolved.
        folder: of its weights.
        where: what to call it in errors.

    Raises:
        BundleError: unknown architecture, invalid settings, or no weights named.
        WeightsError: the weight file is missing, damaged or does not fit.
    """
    network = untrained_network(component.architecture, component.network, where)
    path = _checked_weights(component, folder, where)
    load_strict(network, read_state(path), str(path))
    return network


def build_torchvision_network(component: Component, folder: Path) -> nn.Module:
    """A detector of torchvision with its weights; raises as `build_network`."""
    name, path = _torchvision_weights(component, folder)
    network = detection_network(name)
    load_strict(network, current_names(read_state(path)), str(path))
    return network


def build_pose(component: Component, folder: Path, joints: JointSet, execution: Execution) -> PoseEstimator:
    """The pose stage of a bundle."""
    settings = settings_from_json(PoseSettings, component.settings, "pose: settings")
    network = build_network(component, folder, "pose")
    if not isinstance(network, HeatmapNetwork):
        known = " or ".join(POSE_ARCHITECTURES)
        raise BundleError(f"pose: {component.architecture!r} is no pose network; use {known}")
    return HeatmapPoseEstimator(network, joints, settings, execution.device, execution.runtime, execution.precision)


def build_detector(component: Component, folder: Path, execution: Execution, people: int) -> Detector:
    """The detector stage of a bundle, which can report at least `people` people per frame."""
    settings = settings_from_json(DetectorSettings, component.settings, "detector: settings").with_room_for(people)
    if component.architecture == TORCHVISION:
        name, weights = _torchvision_weights(component, folder)
        return TorchvisionDetector(name, weights, settings, execution.device, execution.precision)
    network = build_network(component, folder, "detector")
    if isinstance(network, YoloxDetector):
        return yolox_person_detector(network, settings, execution.device, execution.runtime, execution.precision)
    if not isinstance(network, CenterDetector):
        raise BundleError(
            f"detector: {component.architecture!r} is no detector; use yolox, center_detector or torchvision"
        )
    return center_heatmap_detector(network, settings, execution.device, execution.runtime, execution.precision)


def build_flow(component: Component, folder: Path, execution: Execution) -> FlowEstimator:
    """The flow stage of a bundle: `flownet_s`, or `dis`, which has only settings, no network and no weights."""
    if component.architecture == "dis":
        if component.network or component.weights:
            raise BundleError("flow: dis has neither network nor weights; preset and width are settings")
        settings = settings_from_json(DisSettings, component.settings, "flow: settings")
        return DisFlow(settings, dis_workers(execution.device))
    network = build_network(component, folder, "flow")
    if not isinstance(network, FlowNetS):
        raise BundleError(f"flow: {component.architecture!r} is no flow estimator; use flownet_s or dis")
    if component.settings:
        raise BundleError(f"flow: settings: unknown field {', '.join(component.settings)}; flownet_s has none")
    return FlowNetFlow(network, execution.device, execution.runtime, execution.precision)


def dis_workers(device: torch.device) -> int:
    """Threads for DIS: more than one if the networks run on a GPU, which leaves the CPU free."""
    return 1 if device.type == "cpu" else max(1, usable_cores() // 2)


def _torchvision_weights(component: Component, folder: Path) -> tuple[str, Path]:
    return str(component.network.get("name", "")), _checked_weights(component, folder, "detector")


def _checked_weights(component: Component, folder: Path, where: str) -> Path:
    if component.weights is None:
        raise BundleError(f"{where}: architecture {component.architecture!r} needs weights (file and sha256)")
    path = folder / component.weights.file
    check_digest(path, component.weights.sha256)
    return path
