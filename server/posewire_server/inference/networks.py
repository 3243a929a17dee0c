"""The networks that a server runs, loaded from a bundle."""

from __future__ import annotations

import logging
import traceback
from dataclasses import dataclass, field

import cv2
import torch

from posewire.joints import JointSet
from posewire.usable_cores import usable_cores
from posewire_models.bundle import LoadedBundle, find_bundle, load_bundle
from posewire_models.flow_estimators import FlowByGap
from posewire_models.manifest import Component, read_manifest
from posewire_models.one_line import in_one_line
from posewire_models.specs import spec_name
from posewire_models.stages import Detector, FlowEstimator, PoseEstimator
from posewire_server.config import ServerConfig

__all__ = ["ModelNames", "Networks", "load_networks"]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModelNames:
    """Names of the networks, for clients and logs. The name of a missing stage is empty."""

    bundle: str
    detector: str
    flow: str
    pose: str
    bundle_version: int
    flip_test: bool = False


@dataclass(frozen=True, eq=False)
class Networks:
    """The three stages of inference.

    Attributes:
        detector: None if callers must give the boxes.
        flow: optical flow.
        pose: joints.
        joint_set: the joints of the pose network.
        names: of the networks.
        device: as text, e.g. `cpu (openvino, float32)`.
        torch_device: where the networks expect frames.
    """

    detector: Detector | None
    flow: FlowEstimator
    pose: PoseEstimator
    joint_set: JointSet
    names: ModelNames
    device: str
    torch_device: torch.device = field(default_factory=lambda: torch.device("cpu"))


def load_networks(config: ServerConfig) -> Networks:
    """Load the bundle that the configuration names.

    Raises:
        ValueError: unknown bundle, device, detector or flow, faulty weights, a library that cannot be imported, or
            a runtime that fails on them, for example because memory is short; the message says what to do.
        OSError: a file of it cannot be read.
    """
    cores = usable_cores()
    torch.set_num_threads(config.threads or min(torch.get_num_threads(), cores))
    cv2.setNumThreads(config.threads or min(cv2.getNumThreads(), cores))
    manifest = read_manifest(find_bundle(config.bundle))
    detector = "none" if config.detector == "auto" and manifest.detector is None else config.detector
    try:
        bundle = load_bundle(
            config.bundle,
            device=config.device,
            detector=detector,
            flow=config.flow,
            runtime=config.runtime,
            precision=config.precision,
            flip_test=config.flip_test,
            people=config.limits.max_people,
        )
    except (ImportError, RuntimeError, MemoryError) as error:  # of torch and OpenVINO
        log.debug("the networks cannot be loaded", exc_info=True)
        why = in_one_line(error) or type(error).__name__
        if isinstance(error, ImportError) or _came_while_importing(error):
            remedy = "install the library that is at fault, or the package that needs it, anew"
        else:
            remedy = "if memory is short, free some, or choose another --device, --runtime or --bundle"
        raise ValueError(f"the networks cannot be loaded ({why}); {remedy}") from error
    if bundle.runtime == "openvino":
        # What is left for torch is small; its idle threads would spin on the cores that the networks need.
        torch.set_num_threads(1)
    return Networks(
        detector=None if detector == "none" else bundle.detector,
        flow=bundle.flow,
        pose=bundle.pose,
        joint_set=bundle.joint_set,
        names=ModelNames(
            bundle=bundle.manifest.name,
            detector="" if detector == "none" else _detector_name(detector, bundle),
            flow=_flow_name(config.flow, bundle),
            pose=bundle.manifest.pose.architecture,
            bundle_version=bundle.manifest.version,
            flip_test=bundle.flip_test,
        ),
        device=_in_words(bundle),
        torch_device=bundle.device,
    )


def _came_while_importing(error: BaseException) -> bool:
    """Whether it ended an import: torchvision raises RuntimeError beside a torch of another build."""
    return any(frame.f_code.co_name == "<module>" for frame, _ in traceback.walk_tb(error.__traceback__))


def _name(specification: str, component: Component | None) -> str:
    """As `spec_name`, but the architecture if it is the bundle's own."""
    if specification in ("auto", "bundle"):
        return component.architecture if component is not None else ""
    return spec_name(specification)


def _detector_name(specification: str, bundle: LoadedBundle) -> str:
    """Of a bundle's two detectors, that for CPUs is told from the other, which finds more."""
    own, for_cpus = bundle.manifest.detector, bundle.manifest.cpu_detector
    name = _name(specification, own)
    return f"{name} for CPUs" if own is not None and own is for_cpus else name


def _flow_name(specification: str, bundle: LoadedBundle) -> str:
    """If there are two flow estimators, both names: the one for frames close together first."""
    name, near = _name(specification, bundle.manifest.flow), bundle.manifest.near_flow
    return f"{near.architecture}+{name}" if isinstance(bundle.flow, FlowByGap) and near is not None else name


def _in_words(bundle: LoadedBundle) -> str:
    how = f"{bundle.runtime}, {bundle.precision}"
    if bundle.device.type == "cuda":
        index = bundle.device.index or 0
        return f"cuda:{index} ({torch.cuda.get_device_name(index)}, {how})"
    return f"{bundle.device} ({how})"
