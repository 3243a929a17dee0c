"""Bundles: a detector, a flow estimator and a pose network that go together, ready to run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from posewire.joints import JointSet, joint_set
from posewire_models.architectures import build_detector, build_flow, build_pose
from posewire_models.detectors.nobody import NobodyDetector
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.torchvision_models import TorchvisionDetector
from posewire_models.flow_estimators import DisFlow, DisSettings, FlowNetFlow, StillFlow
from posewire_models.flownet_s import FlowNetS, FlowNetSConfig
from posewire_models.inference import select_device
from posewire_models.manifest import BundleError, Manifest, read_manifest
from posewire_models.specs import parse_detector_spec, parse_flow_spec
from posewire_models.stages import Detector, FlowEstimator, PoseEstimator
from posewire_models.weights import load_strict, read_state

__all__ = ["LoadedBundle", "bundle_names", "find_bundle", "load_bundle"]

_BUNDLES = Path(__file__).parent / "bundles"


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
    """

    detector: Detector
    flow: FlowEstimator
    pose: PoseEstimator
    joint_set: JointSet
    manifest: Manifest
    device: torch.device


def bundle_names() -> tuple[str, ...]:
    """Names of the bundles that come with the package."""
    return tuple(sorted(path.parent.name for path in _BUNDLES.glob("*/manifest.json")))


def find_bundle(name_or_path: str | Path) -> Path:
    """Folder of a bundle that comes with the package, or of one's own; `BundleError` lists the known names."""
    if str(name_or_path) in bundle_names():
        return _BUNDLES / name_or_path
    folder = Path(name_or_path)
    if (folder / "manifest.json").is_file():
        return folder
    raise BundleError(
        f"unknown bundle {str(name_or_path)!r}; known bundles: {', '.join(bundle_names())}, or the path of a folder "
        "with a manifest.json"
    )


def load_bundle(
    name_or_path: str | Path, *, device: str = "auto", detector: str = "bundle", flow: str = "bundle"
) -> LoadedBundle:
    """Load a bundle, or its pose network with another detector or flow estimator.

    Args:
        name_or_path: a bundle of the package, or the folder of one.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        detector: `bundle`, `onnx:PATH`, `torchvision:NAME[:WEIGHTS]` or `none`.
        flow: `bundle`, `dis[:PRESET]`, `flownet2-s:PATH` or `none`.

    Raises:
        BundleError: unknown or faulty bundle, or one without the stage that is asked for.
        WeightsError: a weight file is missing, damaged or made for another network.
        ValueError: unknown device, detector or flow estimator.
    """
    folder = find_bundle(name_or_path)
    manifest = read_manifest(folder)
    where = select_device(device)
    joints = joint_set(manifest.joint_set)
    return LoadedBundle(
        detector=_detector(detector, manifest, folder, where),
        flow=_flow(flow, manifest, folder, where),
        pose=build_pose(manifest.pose, folder, joints, where),
        joint_set=joints,
        manifest=manifest,
        device=where,
    )


def _detector(text: str, manifest: Manifest, folder: Path, device: torch.device) -> Detector:
    spec = parse_detector_spec(text)
    settings = DetectorSettings()
    if spec.kind == "none":
        return NobodyDetector()
    if spec.kind == "torchvision":
        return TorchvisionDetector(spec.name, spec.path, settings, device)
    if spec.kind == "onnx" and spec.path is not None:
        # Imported here, so that whoever needs no ONNX model need not have ONNX Runtime start up.
        from posewire_models.detectors.onnx_runtime import OnnxDetector

        return OnnxDetector(spec.path, settings, device)
    if manifest.detector is None:
        raise BundleError(
            f"bundle {manifest.name!r} has no detector; give the boxes yourself (detector none), or name a detector: "
            "--detector onnx:PATH"
        )
    return build_detector(manifest.detector, folder, device)


def _flow(text: str, manifest: Manifest, folder: Path, device: torch.device) -> FlowEstimator:
    spec = parse_flow_spec(text)
    if spec.kind == "none":
        return StillFlow()
    if spec.kind == "dis":
        return DisFlow(DisSettings(preset=spec.preset))
    if spec.kind == "flownet2-s" and spec.path is not None:
        network = FlowNetS(FlowNetSConfig())
        load_strict(network, read_state(spec.path), str(spec.path))
        return FlowNetFlow(network, device)
    if manifest.flow is None:
        raise BundleError(f"bundle {manifest.name!r} has no flow estimator; name one: --flow dis")
    return build_flow(manifest.flow, folder, device)
