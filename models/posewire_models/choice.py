"""The only place that decides which networks run on this device: those of a bundle, or others requested instead.

`load_bundle` builds what is chosen; a cache of network outputs identifies by it which networks they are from.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from posewire_models.detectors.torchvision_models import default_weights
from posewire_models.inference import Execution, select_device, select_runtime
from posewire_models.manifest import BundleError, Component, Manifest, find_bundle, read_manifest
from posewire_models.precision import precision_name, select_precision
from posewire_models.published.resolution import resolve
from posewire_models.published.store import Store
from posewire_models.specs import (
    Auto,
    DetectorSpec,
    Dis,
    FlowNetFile,
    FlowSpec,
    Nothing,
    OnnxFile,
    Own,
    Published,
    TorchvisionFile,
    TorchvisionModel,
    parse_detector_spec,
    parse_flow_spec,
)

__all__ = ["ByGap", "Choice", "ChosenDetector", "ChosenFlow", "Part", "choose_networks", "weights_folder"]


@dataclass(frozen=True)
class Part:
    """A stage as defined by the bundle.

    Attributes:
        component: with its published names resolved.
        folder: of its weights.
    """

    component: Component
    folder: Path


@dataclass(frozen=True)
class ByGap:
    """Two flow estimators of the bundle, chosen by the time between frames; see `FlowByGap`."""

    near: Part
    far: Part


ChosenDetector = Part | OnnxFile | TorchvisionFile | Nothing
ChosenFlow = Part | ByGap | Dis | FlowNetFile | Nothing


@dataclass(frozen=True)
class Choice:
    """The networks of the three stages, with nothing left to `auto`; nothing is loaded.

    Attributes:
        manifest: of the bundle, with the published weights that replace its own.
        detector, flow, pose: what runs.
        execution: how it runs.
    """

    manifest: Manifest
    detector: ChosenDetector
    flow: ChosenFlow
    pose: Part
    execution: Execution


def choose_networks(
    name_or_path: str | Path,
    *,
    device: str = "auto",
    detector: str = "bundle",
    flow: str = "auto",
    runtime: str = "auto",
    precision: str = "auto",
    store: Store | None = None,
) -> Choice:
    """The networks of a bundle, or its pose network with another detector or flow estimator, as for `load_bundle`.

    Raises:
        BundleError: unknown or faulty bundle, or one without a requested stage.
        PublishedError: published weights that it needs were not fetched; the message says how to fetch them.
        WeightsError: torchvision's own weights are missing or damaged.
        ValueError: unknown device, runtime, precision, detector or flow estimator.
    """
    folder = find_bundle(name_or_path)
    where = select_device(device)
    detector_spec, flow_spec = parse_detector_spec(detector), parse_flow_spec(flow)
    execution = Execution(
        where, select_runtime(runtime, where, precision), precision_name(select_precision(precision, where))
    )
    store = store or Store()
    manifest = read_manifest(folder)
    if isinstance(detector_spec, Auto):
        manifest = manifest.on(where.type)  # before it is resolved: what does not run need not have been fetched
    manifest = _resolved(manifest, detector_spec, flow_spec, store, str(name_or_path))

    def part(component: Component) -> Part:
        return Part(component, weights_folder(component, folder, store))

    chosen_detector: ChosenDetector
    match detector_spec:
        case Auto() | Own() | Published():
            if manifest.detector is None:
                raise BundleError(
                    f"bundle {manifest.name!r} has no detector; give the boxes yourself (detector none), or name a "
                    "detector: --detector onnx:PATH"
                )
            chosen_detector = part(manifest.detector)
        case TorchvisionModel(name):
            chosen_detector = TorchvisionFile(name, default_weights(name, store))
        case OnnxFile() | TorchvisionFile() | Nothing():
            chosen_detector = detector_spec

    chosen_flow: ChosenFlow
    match flow_spec:
        case Auto() | Own() | Published():
            if manifest.flow is None:
                raise BundleError(f"bundle {manifest.name!r} has no flow estimator; name one: --flow dis")
            chosen_flow = part(manifest.flow)
            if isinstance(flow_spec, Auto) and manifest.near_flow is not None and where.type == "cpu":
                chosen_flow = ByGap(part(manifest.near_flow), chosen_flow)
        case Dis() | FlowNetFile() | Nothing():
            chosen_flow = flow_spec

    return Choice(manifest, chosen_detector, chosen_flow, part(manifest.pose), execution)


def weights_folder(component: Component, folder: Path, store: Store | None = None) -> Path:
    """Folder of a component's weights: the bundle's own, or, for published weights, the store's."""
    return (store or Store()).weights if component.published else folder


def _resolved(manifest: Manifest, detector: DetectorSpec, flow: FlowSpec, store: Store, bundle: str) -> Manifest:
    """The manifest with the published weights that it names, or that were requested in place of its own."""
    specs: dict[str, DetectorSpec | FlowSpec] = {"detector": detector, "flow": flow}
    asked: dict[str, Any] = {
        stage: Component(published=(spec.name,)) for stage, spec in specs.items() if isinstance(spec, Published)
    }
    stages = ["pose", *(stage for stage, spec in specs.items() if isinstance(spec, Auto | Own | Published))]
    return resolve(dataclasses.replace(manifest, **asked), stages, store, "" if asked else bundle)
