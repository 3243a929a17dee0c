"""torchvision's detectors with their published COCO weights, read from a local file; nothing is downloaded."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import urlparse

import torch
from torch import Tensor, nn
from torchvision.models import get_model, get_model_weights
from torchvision.ops import FrozenBatchNorm2d

from posewire_models.detectors.selection import DetectorSettings, people
from posewire_models.frames import Detections, Frame
from posewire_models.published.catalogue import catalogue
from posewire_models.published.store import Store
from posewire_models.weights import WeightsError, check_digest, load_strict, read_state

__all__ = ["TORCHVISION_DETECTORS", "TorchvisionDetector", "current_names", "detection_network"]

# Name -> epsilon of the frozen batch norms that the published weights were trained with; None where they are ordinary
# ones. torchvision freezes them only when it downloads the weights itself, so that is repeated here.
_FROZEN_EPSILON: dict[str, float | None] = {
    "fasterrcnn_resnet50_fpn": 0.0,
    "fasterrcnn_resnet50_fpn_v2": None,
    "fasterrcnn_mobilenet_v3_large_fpn": 1e-5,
    "fasterrcnn_mobilenet_v3_large_320_fpn": 1e-5,
    "ssdlite320_mobilenet_v3_large": None,
}
TORCHVISION_DETECTORS = tuple(_FROZEN_EPSILON)
"""Names that `TorchvisionDetector` knows."""

_NAMES_SINCE_0_13 = (
    (re.compile(r"^(backbone\.fpn\.(?:inner|layer)_blocks\.\d+)\.(weight|bias)$"), r"\1.0.\2"),
    (re.compile(r"^rpn\.head\.conv\.(weight|bias)$"), r"rpn.head.conv.0.0.\1"),
)

_PERSON = 1  # torchvision numbers COCO's classes as COCO does; 0 is the background


class TorchvisionDetector:
    """A `Detector` by a model of torchvision.

    Args:
        name: one of `TORCHVISION_DETECTORS`.
        weights: its state file; None takes the published weights from posewire's store, or from the cache of torch.hub.
        settings: thresholds. The models have an NMS of their own.
        device: where to run.

    Raises:
        ValueError: unknown name.
        WeightsError: no weight file, or one of another model.
    """

    def __init__(self, name: str, weights: Path | None, settings: DetectorSettings, device: torch.device) -> None:
        network = detection_network(name)
        path = weights or _published_file(name)
        load_strict(network, current_names(read_state(path)), str(path))
        self._network = network.eval().requires_grad_(False).to(device)
        self._settings = settings
        self._device = device

    @torch.inference_mode()
    def __call__(self, frames: Sequence[Frame]) -> list[Detections]:
        """People of each frame, best first."""
        # One frame at a time: the models pad a batch to its largest frame, which would make results depend on it.
        return [self._detect(frame) for frame in frames]

    def _detect(self, frame: Frame) -> Detections:
        image = frame.on(self._device).permute(2, 0, 1).float() / 255
        (found,) = self._network([image])
        mine = found["labels"] == _PERSON
        return people(found["boxes"][mine], found["scores"][mine], frame.size, self._settings)


def detection_network(name: str) -> nn.Module:
    """The network as its published weights want it, with random ones; raises `ValueError` for unknown names."""
    if name not in _FROZEN_EPSILON:
        raise ValueError(f"unknown torchvision detector {name!r}; known: {', '.join(TORCHVISION_DETECTORS)}")
    network: nn.Module = get_model(name, weights=None, weights_backbone=None)
    epsilon = _FROZEN_EPSILON[name]
    if epsilon is not None:
        _freeze_batch_norms(network, epsilon)
    return network


def current_names(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A published state by the names that torchvision's modules have had since 0.13; older files have others."""
    renamed = {}
    for key, value in state.items():
        if not key.endswith("num_batches_tracked"):  # frozen batch norms have none
            for pattern, name in _NAMES_SINCE_0_13:
                key = pattern.sub(name, key)
            renamed[key] = value
    return renamed


def _published_file(name: str) -> Path:
    """The file of torchvision's default weights, if posewire's store or torch.hub has it."""
    store = Store()
    for file in catalogue().values():
        if file.architecture == "torchvision" and file.network["name"] == name and (record := store.find(file.name)):
            check_digest(store.path(record), record.sha256)
            return store.path(record)
    published = Path(urlparse(get_model_weights(name).DEFAULT.url).path).name
    path = Path(torch.hub.get_dir()) / "checkpoints" / published
    if not path.is_file():
        raise WeightsError(
            f"torchvision:{name} needs its published weights: fetch them with `posewire models pull`, give the file as "
            f"torchvision:{name}:PATH, or put {published} into {path.parent}"
        )
    return path


def _freeze_batch_norms(network: nn.Module, epsilon: float) -> None:
    for module in list(network.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.BatchNorm2d):
                setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=epsilon))
