"""Bundles: a detector, a flow estimator and a pose network that go together, ready to run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from posewire.joints import JointSet, joint_set
from posewire_models.architectures import build_detector, build_flow, build_pose, dis_workers
from posewire_models.choice import ByGap, ChosenDetector, ChosenFlow, Part, choose_networks, weights_folder
from posewire_models.detectors.nobody import NoDetector
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.torchvision_models import TorchvisionDetector
from posewire_models.flow_estimators import DisFlow, DisSettings, FlowByGap, FlowNetFlow, StillFlow
from posewire_models.flownet_s import FlowNetS, FlowNetSConfig
from posewire_models.inference import Execution
from posewire_models.manifest import Manifest, bundle_names, find_bundle
from posewire_models.published.store import Store
from posewire_models.specs import Dis, FlowNetFile, Nothing, OnnxFile, TorchvisionFile
from posewire_models.stages import Detector, FlowEstimator, PoseEstimator
from posewire_models.weights import load_strict, read_state

__all__ = ["LoadedBundle", "bundle_names", "find_bundle", "load_bundle", "weights_folder"]


@dataclass(frozen=True, eq=False)
class LoadedBundle:
    """The three stages, ready to run, and their description.

    Attributes:
        detector: finds people; see `posewire_models.stages` for all three.
        flow: estimates optical flow.
        pose: finds joints.
        joint_set: which joints `pose` finds.
        manifest: the bundle's manifest; its `detector` is that for the device if it was left to `auto`.
        device: where the networks run.
        runtime: what runs them: `torch`, `openvino` or `cuda-graphs`.
        precision: what they compute in: `float32`, `float16` or `bfloat16`.
        flip_test: whether `pose` averages with the heatmaps of mirrored crops.
    """

    detector: Detector
    flow: FlowEstimator
    pose: PoseEstimator
    joint_set: JointSet
    manifest: Manifest
    device: torch.device
    runtime: str
    precision: str
    flip_test: bool


def load_bundle(
    name_or_path: str | Path,
    *,
    device: str = "auto",
    detector: str = "bundle",
    flow: str = "auto",
    runtime: str = "auto",
    precision: str = "auto",
    flip_test: bool | None = None,
    people: int = 1,
    store: Store | None = None,
) -> LoadedBundle:
    """Load a bundle, or its pose network with another detector or flow estimator.

    Args:
        name_or_path: a bundle that comes with the package, or a bundle's folder.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        detector: `auto` (the bundle's for the device), `bundle` (its `detector`, on a CPU too), `onnx:PATH`,
            `torchvision:NAME[:WEIGHTS]`, `published:NAME` or `none`.
        flow: `auto` (the bundle's for the device), `bundle` (its `flow` alone, on a CPU too), `dis[:PRESET]`,
            `flownet2-s:PATH`, `published:NAME` or `none`.
        runtime: what runs our networks, see `posewire_models.specs.RUNTIMES`.
        precision: what they compute in, see `posewire_models.specs.PRECISIONS`.
        flip_test: whether to average with the heatmaps of mirrored crops; None: as the bundle does.
        people: the detector can report at least this many per frame; see `DetectorSettings.max_people`.
        store: of published weights; None takes the user's.

    Raises:
        BundleError: unknown or faulty bundle, or one without a requested stage.
        PublishedError: published weights that it needs were not fetched; the message says how to fetch them.
        WeightsError: a weight file is missing, damaged or made for another network.
        ValueError: unknown device, runtime, precision, detector or flow estimator.
    """
    choice = choose_networks(
        name_or_path,
        device=device,
        detector=detector,
        flow=flow,
        runtime=runtime,
        precision=precision,
        store=store,
    )
    joints = joint_set(choice.manifest.joint_set)
    pose = choice.pose.component
    if flip_test is not None:
        pose = replace(pose, settings={**pose.settings, "flip_test": flip_test})
    return LoadedBundle(
        detector=_detector(choice.detector, choice.execution, people),
        flow=_flow(choice.flow, choice.execution),
        pose=build_pose(pose, choice.pose.folder, joints, choice.execution),
        joint_set=joints,
        manifest=choice.manifest,
        device=choice.execution.device,
        runtime=choice.execution.runtime,
        precision=choice.execution.precision,
        flip_test=bool(pose.settings.get("flip_test")),
    )


def _detector(chosen: ChosenDetector, execution: Execution, people: int) -> Detector:
    settings = DetectorSettings().with_room_for(people)
    match chosen:
        case Part(component, folder):
            return build_detector(component, folder, execution, people)
        case OnnxFile(path):
            # Imported here, so that ONNX Runtime is loaded only for ONNX models.
            from posewire_models.detectors.onnx_runtime import OnnxDetector

            return OnnxDetector(path, settings, execution.device)
        case TorchvisionFile(name, weights):
            return TorchvisionDetector(name, weights, settings, execution.device, execution.precision)
        case Nothing():
            return NoDetector()


def _flow(chosen: ChosenFlow, execution: Execution) -> FlowEstimator:
    match chosen:
        case Part(component, folder):
            return build_flow(component, folder, execution)
        case ByGap(near, far):
            return FlowByGap(_flow(near, execution), _flow(far, execution))
        case Dis(preset):
            return DisFlow(DisSettings(preset=preset), dis_workers(execution.device))
        case FlowNetFile(weights):
            network = FlowNetS(FlowNetSConfig())
            load_strict(network, read_state(weights), str(weights))
            return FlowNetFlow(network, execution.device, execution.runtime, execution.precision)
        case Nothing():
            return StillFlow()
