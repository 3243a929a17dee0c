"""What training needs to know about each detector architecture: its targets, its loss, and how to decode its boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from posewire.array_types import Float32s
from posewire_models.center_detector import CenterDetector, CenterMaps, decode_centers
from posewire_models.detectors.selection import DetectorSettings
from posewire_models.detectors.yolox_boxes import decode_logits, nms
from posewire_models.training.center_targets import CenterTargets, center_loss, center_targets
from posewire_models.training.yolox_loss import YoloxTargets, yolox_loss
from posewire_models.yolox_detector import YoloxDetector

__all__ = ["DETECTOR_KINDS", "DetectorKind", "DetectorTargets"]

People = Sequence[tuple[Float32s, Float32s]]
"""For each image: boxes `(n, 4)` of its people, and `(m, 4)` where there may or may not be some; in input pixels."""


class DetectorTargets(Protocol):
    """Targets of a batch."""

    def to(self, device: torch.device) -> Self:
        """The same on `device`."""
        ...


class DetectorKind(Protocol):
    """One architecture; constructed with its network."""

    @property
    def pretrained(self) -> nn.Module:
        """The part of the network that `init_trunk` is loaded into."""
        ...

    def targets(self, people: People) -> Any:
        """`DetectorTargets` of a batch."""
        ...

    def loss(self, predictions: Any, targets: Any) -> Tensor:
        """Loss of the network's predictions for a batch."""
        ...

    def found(self, predictions: Any) -> tuple[Tensor, Tensor]:
        """Boxes `(n, 4)` xyxy in input pixels and scores `(n,)`, best first, of the first image."""
        ...


class _CenterHeatmap:
    """`CenterDetector`."""

    def __init__(self, network: CenterDetector) -> None:
        self.network = network

    @property
    def pretrained(self) -> nn.Module:
        return self.network.trunk

    def targets(self, people: People) -> CenterTargets:
        return center_targets(list(people), self.network.config.output_size, self.network.config.stride)

    def loss(self, predictions: CenterMaps, targets: CenterTargets) -> Tensor:
        return center_loss(predictions, targets)

    def found(self, predictions: CenterMaps) -> tuple[Tensor, Tensor]:
        boxes, scores = decode_centers(CenterMaps(*(part.float() for part in predictions)), self.network.config.stride)
        return boxes[0], scores[0]


class _Yolox:
    """`YoloxDetector`, all of which is pretrained."""

    def __init__(self, network: YoloxDetector) -> None:
        self.network = network

    @property
    def pretrained(self) -> nn.Module:
        return self.network

    def targets(self, people: People) -> YoloxTargets:
        return YoloxTargets(*([torch.from_numpy(each[part]) for each in people] for part in range(2)))

    def loss(self, predictions: Tensor, targets: YoloxTargets) -> Tensor:
        return yolox_loss(predictions, targets, self.network.config.input_size)

    def found(self, predictions: Tensor) -> tuple[Tensor, Tensor]:
        best = decode_logits(predictions.float(), self.network.config.input_size)[0]
        return nms(best[:, :4], best[:, 4], DetectorSettings(score_threshold=0.0))


DETECTOR_KINDS: dict[str, Callable[[Any], DetectorKind]] = {"center_detector": _CenterHeatmap, "yolox": _Yolox}
"""By architecture, as named in manifests."""
