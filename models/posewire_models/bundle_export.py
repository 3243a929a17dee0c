"""Export of a bundle's networks to ONNX files, each of them compared with the original network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
import torch
from torch import nn
from torchvision.ops import box_iou

from posewire.array_types import Float32s
from posewire_models.architectures import TORCHVISION, build_network, build_torchvision_network
from posewire_models.bundle import find_bundle, weights_folder
from posewire_models.manifest import Component, Manifest, read_manifest
from posewire_models.network_outputs import tensors_of
from posewire_models.onnx_export import OnePicture, export_detector_onnx, export_onnx
from posewire_models.published.resolution import STAGES, resolve
from posewire_models.published.store import Store
from posewire_models.whole_files import replacing

__all__ = ["ExportError", "Exported", "export_bundle"]

_DETECTOR_SIZE = (720, 1280)
_TOLERANCE = 1e-4
# Boxes and scores that a detector selects among hundreds of candidates are the end of a longer calculation.
_DETECTOR_TOLERANCE = 1e-3
_ERRORS_ONLY = 3

Arrays = list[Float32s]


class ExportError(ValueError):
    """An exported network computes other results than the original."""


@dataclass(frozen=True)
class Exported:
    """An exported network.

    Attributes:
        stage: `detector`, `flow`, `pose`, `cpu_detector` or `near_flow`.
        path: the file.
        difference: the largest difference of its outputs, relative to the outputs' largest value (at least 1).
        compared: how many numbers were compared.
    """

    stage: str
    path: Path
    difference: float
    compared: int


def export_bundle(name_or_path: str | Path, folder: Path, store: Store | None = None) -> Iterator[Exported]:
    """Write each network of a bundle to `folder`, as `STAGE.onnx`, one at a time.

    Each is run in ONNX Runtime on random input and compared with the original before it gets its final name. Flow by
    DIS is not a network and is left out.

    Args:
        name_or_path: a bundle that comes with the package, or a bundle's folder.
        folder: created if missing.
        store: of published weights; None takes the user's.

    Raises:
        BundleError, PublishedError: as `load_bundle`.
        ExportError: an export that differs from its original.
    """
    place = find_bundle(name_or_path)
    store = store or Store()
    manifest = resolve(read_manifest(place), STAGES, store, str(name_or_path))
    folder.mkdir(parents=True, exist_ok=True)
    for stage, component in _with_networks(manifest):
        final = folder / f"{stage}.onnx"
        with replacing(final) as unfinished:
            difference, compared = _export(component, weights_folder(component, place, store), stage, unfinished)
            tolerance = _DETECTOR_TOLERANCE if component.architecture == TORCHVISION else _TOLERANCE
            if not difference <= tolerance:  # also catches NaN
                raise ExportError(
                    f"{stage}: ONNX Runtime's result differs by {difference:.2g}; {final} was not written"
                )
        yield Exported(stage, final, difference, compared)


def _with_networks(manifest: Manifest) -> list[tuple[str, Component]]:
    return [(stage, component) for stage, component in manifest.components.items() if component.architecture != "dis"]


def _export(component: Component, weights: Path, stage: str, path: Path) -> tuple[float, int]:
    if component.architecture == TORCHVISION:
        network = build_torchvision_network(component, weights)
        export_detector_onnx(network, path, _DETECTOR_SIZE)
        return _compare_detections(OnePicture(network).eval(), path)
    network = build_network(component, weights, stage)
    export_onnx(network, path)
    images = torch.randn(2, *network.input_shape, generator=torch.Generator().manual_seed(0))
    expected, found = _both(network.eval(), path, images)
    # numpy's `max`, unlike Python's, returns NaN if one of the values is.
    scale = max(1.0, float(np.max([np.abs(output).max() for output in expected])))
    difference = np.max([np.abs(one - other).max() for one, other in zip(expected, found, strict=True)])
    return float(difference) / scale, sum(output.size for output in expected)


def _compare_detections(network: nn.Module, path: Path) -> tuple[float, int]:
    """Compare each detection with the one that overlaps it, since the order of equal scores may differ.

    A different number of detections is a difference of 1: one that only one side has overlaps none of the other.
    """
    picture = torch.rand(1, 3, *_DETECTOR_SIZE, generator=torch.Generator().manual_seed(0))
    (boxes, scores, labels), (other_boxes, other_scores, other_labels) = _both(network, path, picture)
    if len(boxes) != len(other_boxes) or not len(boxes):
        return float(len(boxes) != len(other_boxes)), 0
    overlap = box_iou(torch.from_numpy(boxes), torch.from_numpy(other_boxes)).numpy()
    partner = np.where(labels[:, None] == other_labels, overlap, -1.0).argmax(axis=1)
    of_boxes = np.abs(boxes - other_boxes[partner]).max() / max(_DETECTOR_SIZE)
    return max(float(of_boxes), float(np.abs(scores - other_scores[partner]).max())), boxes.size + scores.size


def _both(network: nn.Module, path: Path, images: torch.Tensor) -> tuple[Arrays, Arrays]:
    """The outputs of the network and of its export."""
    with torch.inference_mode():
        outputs = network(images)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: images.numpy()})
    return [output.numpy() for output in tensors_of(outputs)], found
