"""Bundles: a detector, a flow estimator and a pose network that go together, ready to run."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from posewire.joints import JointSet, joint_set
from posewire_models.architectures import build_detector, build_flow, build_pose, dis_workers
from posewire_models.detectors.nobody import NoDetector
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.torchvision_models import TorchvisionDetector
from posewire_models.flow_estimators import DisFlow, DisSettings, FlowByGap, FlowNetFlow, StillFlow
from posewire_models.flownet_s import FlowNetS, FlowNetSConfig
from posewire_models.inference import select_device, select_runtime
from posewire_models.manifest import BundleError, Component, Manifest, bundle_names, find_bundle, read_manifest
from posewire_models.precision import precision_name, select_precision
from posewire_models.published.resolution import resolve
from posewire_models.published.store import Store
from posewire_models.specs import DetectorSpec, FlowSpec, parse_detector_spec, parse_flow_spec
from posewire_models.stages import Detector, FlowEstimator, PoseEstimator
from posewire_models.weights import load_strict, read_state

__all__ = ["LoadedBundle", "bundle_names", "find_bundle", "load_bundle", "resolved_manifest", "weights_folder"]


@dataclass(frozen=True, eq=False)
class LoadedBundle:
    """The three stages, and what they stand for.

    Attributes:
        detector: finds people; see `posewire_models.stages` for all three.
        flow: estimates optical flow.
        pose: finds joints.
        joint_set: what the joints mean.
        manifest: what the bundle says of itself.
        device: where the networks run.
        runtime: what runs them: `torch`, `openvino` or `cuda-graphs`.
        precision: in what they compute: `float32`, `float16` or `bfloat16`.
    """

    detector: Detector
    flow: FlowEstimator
    pose: PoseEstimator
    joint_set: JointSet
    manifest: Manifest
    device: torch.device
    runtime: str
    precision: str


class _How(NamedTuple):
    """How networks are to run, every choice made."""

    device: torch.device
    runtime: str
    precision: str


def load_bundle(
    name_or_path: str | Path,
    *,
    device: str = "auto",
    detector: str = "bundle",
    flow: str = "auto",
    runtime: str = "auto",
    precision: str = "auto",
    people: int = 1,
) -> LoadedBundle:
    """Load a bundle, or its pose network with another detector or flow estimator.

    Args:
        name_or_path: a bundle of the package, or the folder of one.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        detector: `bundle`, `onnx:PATH`, `torchvision:NAME[:WEIGHTS]`, `published:NAME` or `none`.
        flow: `auto` (the bundle's for the device), `bundle` (its `flow` alone, on a CPU too), `dis[:PRESET]`,
            `flownet2-s:PATH`, `published:NAME` or `none`.
        runtime: what runs our networks, see `posewire_models.inference.RUNTIMES`.
        precision: in what they compute, see `posewire_models.precision.PRECISIONS`.
        people: how many the detector can report in a frame at least; see `DetectorSettings.max_people`.

    Raises:
        BundleError: unknown or faulty bundle, or one without the stage that is asked for.
        PublishedError: it needs published weights that were not fetched; the message says how to.
        WeightsError: a weight file is missing, damaged or made for another network.
        ValueError: unknown device, runtime, precision, detector or flow estimator.
    """
    folder = find_bundle(name_or_path)
    where = select_device(device)
    detector_spec, flow_spec = parse_detector_spec(detector), parse_flow_spec(flow)
    how = _How(where, select_runtime(runtime, where, precision), precision_name(select_precision(precision, where)))
    manifest = resolved_manifest(read_manifest(folder), detector_spec, flow_spec, str(name_or_path))
    joints = joint_set(manifest.joint_set)
    return LoadedBundle(
        detector=_detector(detector_spec, manifest, folder, how, people),
        flow=_flow(flow_spec, manifest, folder, how),
        pose=build_pose(manifest.pose, weights_folder(manifest.pose, folder), joints, *how),
        joint_set=joints,
        manifest=manifest,
        device=where,
        runtime=how.runtime,
        precision=how.precision,
    )


def weights_folder(component: Component, folder: Path) -> Path:
    """Where the weights of a component lie: in the bundle's folder, or, where they are published ones, in the store."""
    return Store().weights if component.published else folder


def resolved_manifest(manifest: Manifest, detector: DetectorSpec, flow: FlowSpec, bundle: str) -> Manifest:
    """The manifest with the published weights that it names, or that were asked for in place of its own.

    Args:
        manifest: of the bundle.
        detector: as it was asked for.
        flow: likewise.
        bundle: what the user calls the bundle.

    Raises:
        PublishedError: it needs published weights that were not fetched; the message says how to.
    """
    specs: dict[str, DetectorSpec | FlowSpec] = {"detector": detector, "flow": flow}
    asked: dict[str, Any] = {
        stage: Component(published=(spec.name,)) for stage, spec in specs.items() if spec.kind == "published"
    }
    stages = ["pose", *(stage for stage, spec in specs.items() if spec.kind in ("auto", "bundle", "published"))]
    return resolve(dataclasses.replace(manifest, **asked), stages, Store(), "" if asked else bundle)


def _detector(spec: DetectorSpec, manifest: Manifest, folder: Path, how: _How, people: int) -> Detector:
    settings = DetectorSettings().with_room_for(people)
    if spec.kind == "none":
        return NoDetector()
    if spec.kind == "torchvision":
        return TorchvisionDetector(spec.name, spec.path, settings, how.device, how.precision)
    if spec.kind == "onnx" and spec.path is not None:
        # Imported here, so that whoever needs no ONNX model need not have ONNX Runtime start up.
        from posewire_models.detectors.onnx_runtime import OnnxDetector

        return OnnxDetector(spec.path, settings, how.device)
    if manifest.detector is None:
        raise BundleError(
            f"bundle {manifest.name!r} has no detector; give the boxes yourself (detector none), or name a detector: "
            "--detector onnx:PATH"
        )
    return build_detector(manifest.detector, weights_folder(manifest.detector, folder), *how, people)


def _flow(spec: FlowSpec, manifest: Manifest, folder: Path, how: _How) -> FlowEstimator:
    if spec.kind == "none":
        return StillFlow()
    if spec.kind == "dis":
        return DisFlow(DisSettings(preset=spec.preset), dis_workers(how.device))
    if spec.kind == "flownet2-s" and spec.path is not None:
        network = FlowNetS(FlowNetSConfig())
        load_strict(network, read_state(spec.path), str(spec.path))
        return FlowNetFlow(network, *how)
    if manifest.flow is None:
        raise BundleError(f"bundle {manifest.name!r} has no flow estimator; name one: --flow dis")
    flow = build_flow(manifest.flow, weights_folder(manifest.flow, folder), *how)
    if spec.kind != "auto" or manifest.near_flow is None or how.device.type != "cpu":
        return flow
    return FlowByGap(build_flow(manifest.near_flow, weights_folder(manifest.near_flow, folder), *how), flow)
