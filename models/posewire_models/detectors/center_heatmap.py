"""The centre-heatmap detector as a stage: letterbox, `CenterDetector`, peaks."""

from __future__ import annotations

import torch
from torch import Tensor

from posewire_models.center_detector import CenterDetector, CenterMaps, decode_centers
from posewire_models.detectors.letterboxed import LetterboxedDetector
from posewire_models.detectors.selection import DetectorSettings

__all__ = ["center_heatmap_detector"]


def center_heatmap_detector(
    network: CenterDetector,
    settings: DetectorSettings,
    device: torch.device,
    runtime: str = "auto",
    precision: str = "auto",
) -> LetterboxedDetector:
    """A `Detector` that runs `CenterDetector`; `network` is prepared for inference on `device` in place."""
    stride = network.config.stride  # `decode` must not keep the network, which OpenVINO does not need

    def decode(maps: CenterMaps) -> Tensor:
        boxes, scores = decode_centers(maps, stride, settings.max_people)
        return torch.cat((boxes, scores.unsqueeze(2)), dim=2)

    return LetterboxedDetector(network, decode, settings, device, runtime, precision)
