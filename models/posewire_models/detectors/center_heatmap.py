"""The centre-heatmap detector as a stage: letterbox, `CenterDetector`, peaks."""

from __future__ import annotations

import torch
from torch import Tensor

from posewire_models.center_detector import CenterDetector, CenterMaps, decode_centers
from posewire_models.detectors.letterboxed import LetterboxedDetector
from posewire_models.detectors.selection import DetectorSettings

__all__ = ["CenterHeatmapDetector"]


class CenterHeatmapDetector(LetterboxedDetector):
    """A `Detector` by `CenterDetector`; `network` is taken over and made ready for inference on `device`."""

    def __init__(
        self,
        network: CenterDetector,
        settings: DetectorSettings,
        device: torch.device,
        runtime: str = "auto",
        precision: str = "auto",
    ) -> None:
        self._stride = network.config.stride
        super().__init__(network, network.config, settings, device, runtime, precision)

    def _decoded(self, predictions: CenterMaps) -> Tensor:
        boxes, scores = decode_centers(predictions, self._stride, self._settings.max_people)
        return torch.cat((boxes, scores.unsqueeze(2)), dim=2)
